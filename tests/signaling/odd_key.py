"""An Ed25519 key with a small-order part (RFC 8032): libsodium verifies it and cannot seal to it."""

import hashlib
import os
from types import SimpleNamespace

_P = 2**255 - 19
_L = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, _P - 2, _P) % _P
_ROOT = pow(2, (_P - 1) // 4, _P)

_Point = tuple[int, int]


def _add(one: _Point, other: _Point) -> _Point:
    (x1, y1), (x2, y2) = one, other
    k = _D * x1 * x2 * y1 * y2
    x = (x1 * y2 + x2 * y1) * pow(1 + k, _P - 2, _P)
    y = (y1 * y2 + x1 * x2) * pow(1 - k, _P - 2, _P)
    return x % _P, y % _P


def _times(factor: int, point: _Point) -> _Point:
    total = (0, 1)
    while factor:
        if factor & 1:
            total = _add(total, point)
        point, factor = _add(point, point), factor >> 1
    return total


def _point(y: int) -> _Point | None:
    square = (y * y - 1) * pow(_D * y * y + 1, _P - 2, _P) % _P
    x = pow(square, (_P + 3) // 8, _P)
    if (x * x - square) % _P:
        x = x * _ROOT % _P
    if (x * x - square) % _P:
        return None
    return min(x, _P - x), y


def _encoded(point: _Point) -> bytes:
    return (point[1] | (point[0] & 1) << 255).to_bytes(32, "little")


def _of_order_eight() -> _Point:
    for y in range(2, 1000):
        point = _point(y)
        if point is not None and _times(4, small := _times(_L, point)) != (0, 1):
            return small
    raise AssertionError("there are four of them")


_BASE = _point(4 * pow(5, _P - 2, _P) % _P)


class OddKey:
    """Signs like a nacl SigningKey."""

    def __init__(self) -> None:
        assert _BASE is not None
        self._secret = int.from_bytes(os.urandom(32), "little") % _L
        self.verify_key = _encoded(_add(_times(self._secret, _BASE), _of_order_eight()))

    def sign(self, message: bytes) -> SimpleNamespace:
        assert _BASE is not None
        while True:
            nonce = int.from_bytes(os.urandom(64), "little") % _L
            commitment = _encoded(_times(nonce, _BASE))
            digest = hashlib.sha512(commitment + self.verify_key + message).digest()
            challenge = int.from_bytes(digest, "little") % _L
            if challenge % 8 == 0:  # then the small part does not show
                answer = (nonce + challenge * self._secret) % _L
                return SimpleNamespace(signature=commitment + answer.to_bytes(32, "little"))
