"""The proof that both ends know a room's password, without I/O; who does not know it learns: not this one.

SPAKE2 (RFC 9382's exchange, in the groups and the transcript of the library `spake2`), once a channel:

    guest -> host   ELEMENT   x*G + pw*M
    host -> guest   ELEMENT   y*G + pw*N
    guest -> host   PROOF     HMAC under the key both now have, if they used one password
    host -> guest   PROOF     the same for the other side

The two elements are uniformly random whatever the password is, and are on their way before anything depends
on the key: who records them, or makes one itself, has nothing to try a dictionary on. The guest proves
first, so a guess costs a stranger a channel, and the host counts it. The key covers both identities and the
session (descriptions and DTLS exporter), so nobody in between can pass the exchange on.
"""

import hashlib
import hmac
import unicodedata
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, Final, assert_never

from nacl.bindings import crypto_core_ed25519_is_valid_point

from signaling.errors import BadPassword
from signaling.handshake import Send

VERSION: Final = 1
MAX_PASSWORD: Final = 256  # characters
SECRET_SIZE: Final = 32
_ELEMENT: Final = 0xC4  # no link message begins with these
_PROOF: Final = 0xC5
_SIZE: Final = 2 + 32
_RANDOM: Final = 64  # what the library reads for one scalar
_COST: Final = 1 << 16  # scrypt's N: 64 MiB and 0.2 s for each word of a dictionary, for who stole a disk


class Side(Enum):
    """Who comes and who asks; part of what is hashed, so that nothing can be turned around."""

    GUEST = 1
    HOST = 2


@dataclass(frozen=True)
class Agreed:
    """The other end used the same password, in this very session."""


@dataclass(frozen=True)
class Wrong:
    """The other end used another password, or somebody stands in between: one guess, and it was wrong."""


@dataclass(frozen=True)
class Broken:
    """The other end does not keep to the exchange; nothing was tried. `reason` is for a log."""

    reason: str


Effect = Send | Agreed | Wrong | Broken


class _State(Enum):
    IDLE = auto()
    ELEMENT = auto()
    PROOF = auto()
    OVER = auto()


class PasswordRun:
    """One side of one run. `start()` once, then `receive()` each message; do the effects in order.

    Both take some 10 ms of arithmetic. A run is over with the first effect that is no Send.
    """

    def __init__(
        self, *, side: Side, secret: bytes, session: bytes, guest: bytes, host: bytes, random: bytes
    ) -> None:
        """`secret`: from `stretch`. `session`: a Binding's digest. `random`: 64 bytes, never used twice."""
        if len(secret) != SECRET_SIZE or len(random) != _RANDOM:
            raise ValueError("a secret has 32 bytes, the random bytes are 64")
        if any(len(field) != 32 for field in (session, guest, host)):
            raise ValueError("session and identities have 32 bytes")
        self._side = side
        self._session = session
        self._exchange = _exchange(side, secret, (session + guest, session + host), random)
        self._mine = b""
        self._elements = b""
        self._key = b""
        self._state = _State.IDLE

    def start(self) -> list[Effect]:
        """The guest speaks first."""
        assert self._state is _State.IDLE
        self._mine = bytes(self._exchange.start())[1:]  # the library's letter for the side is left out
        self._state = _State.ELEMENT
        return [self._element()] if self._side is Side.GUEST else []

    def receive(self, message: bytes) -> list[Effect]:
        """Whatever the bytes are, the worst they do is Broken or Wrong."""
        match self._state:
            case _State.ELEMENT:
                return self._on_element(message)
            case _State.PROOF:
                return self._on_proof(message)
            case _State.OVER:
                return []
            case _State.IDLE:
                raise RuntimeError("a message for a run that has not begun")
            case _:
                assert_never(self._state)

    def _on_element(self, message: bytes) -> list[Effect]:
        if len(message) != _SIZE or message[0] != _ELEMENT:
            return self._break("not an element")
        if message[1] != VERSION:
            return self._break(f"version {message[1]} of the password's exchange is not spoken here")
        theirs = message[2:]
        # The library takes two spellings of the neutral element for a point; libsodium takes canonical
        # points of the prime-order group and nothing else.
        if not crypto_core_ed25519_is_valid_point(theirs):
            return self._break("not a point of the group")
        if theirs == self._mine:
            return self._break("our own element came back")
        guests = self._side is Side.GUEST
        self._key = bytes(self._exchange.finish((b"B" if guests else b"A") + theirs))
        self._elements = self._mine + theirs if guests else theirs + self._mine
        self._state = _State.PROOF
        return [self._proof(Side.GUEST)] if guests else [self._element()]

    def _on_proof(self, message: bytes) -> list[Effect]:
        guests = self._side is Side.GUEST
        if len(message) != _SIZE or message[0] != _PROOF or message[1] != VERSION:
            return self._break("not a proof")
        self._state = _State.OVER
        other = Side.HOST if guests else Side.GUEST
        if not hmac.compare_digest(self._mac(other), message[2:]):
            return [Wrong()]
        return [Agreed()] if guests else [self._proof(Side.HOST), Agreed()]

    def _element(self) -> Send:
        return Send(bytes((_ELEMENT, VERSION)) + self._mine)

    def _proof(self, side: Side) -> Send:
        return Send(bytes((_PROOF, VERSION)) + self._mac(side))

    def _mac(self, side: Side) -> bytes:
        text = b"pigeon/password-proof/v1\0" + bytes((side.value,)) + self._session + self._elements
        return hmac.new(self._key, text, hashlib.sha256).digest()

    def _break(self, reason: str) -> list[Effect]:
        self._state = _State.OVER
        return [Broken(reason)]


def stretch(password: str, *, room: bytes) -> bytes:
    """What stands for the password from here on, 32 bytes; takes 64 MiB and 0.2 s, so call it in a thread.

    The same characters, however a keyboard composes them, give the same secret; another room's salt makes a
    dictionary that was worked through once useless here. BadPassword unless 1 to 256 characters.
    """
    if not 1 <= len(password) <= MAX_PASSWORD:
        raise BadPassword
    try:
        text = unicodedata.normalize("NFC", password).encode()
    except UnicodeEncodeError:  # half a surrogate pair, from a file that is not UTF-8
        raise BadPassword from None
    salt = b"pigeon/password/v1\0" + room
    return hashlib.scrypt(text, salt=salt, n=_COST, r=8, p=1, maxmem=_COST * 1100, dklen=SECRET_SIZE)


def _exchange(side: Side, secret: bytes, names: tuple[bytes, bytes], random: bytes) -> Any:
    from spake2 import SPAKE2_A, SPAKE2_B  # computes its group when imported: only when a password is asked

    made = SPAKE2_A if side is Side.GUEST else SPAKE2_B
    guest, host = names
    return made(secret, idA=b"guest\0" + guest, idB=b"host\0" + host, entropy_f=lambda size: random[:size])
