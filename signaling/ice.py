"""ICE names and passwords that both ends compute: an offer's from its seed, an answer's from the answer.

The answerer's username fragment *is* the answer, sealed with a key from the offer's seed. So it arrives
with the first STUN check that reaches the offerer, which then needs nothing else; and who watches the wire
without having seen the offer learns no identity from it.
"""

import base64
import binascii
import hashlib
from typing import Final

from nacl.exceptions import CryptoError
from nacl.secret import SecretBox

from signaling.errors import Malformed, NotForUs

MAX_UFRAG: Final = 256  # ice-chars, RFC 8839, 5.4
_PREFIX: Final = 8
_OVERHEAD: Final = _PREFIX + SecretBox.MACBYTES
MAX_SEALED_ANSWER: Final = MAX_UFRAG * 3 // 4 - _OVERHEAD  # 168 bytes of answer fit


def offer_credentials(seed: bytes) -> tuple[str, str]:
    """(ufrag of 8 ice-chars, pwd of 24: 144 bits, where RFC 8445, 5.3 asks for 24 and 128)."""
    return _ice_chars(_derive("offer-ufrag", seed)[:6]), _ice_chars(_derive("offer-pwd", seed)[:18])


def answer_credentials(seed: bytes, answer: bytes) -> tuple[str, str]:
    """(ufrag that holds `answer`, pwd of 24 ice-chars); `answer` has at most MAX_SEALED_ANSWER bytes."""
    if len(answer) > MAX_SEALED_ANSWER:
        raise ValueError(f"{len(answer)} bytes of answer do not fit into a username fragment")
    # Each answer has its own nonce, which is a hash of it: nothing has to be random, or remembered.
    prefix = _derive("answer-nonce", seed, answer)[:_PREFIX]
    sealed = _box(seed).encrypt(answer, _nonce(prefix)).ciphertext
    return _ice_chars(prefix + sealed), _ice_chars(_derive("answer-pwd", seed, answer)[:18])


def open_ufrag(ufrag: str, *, seed: bytes) -> bytes:
    """The answer in a username fragment made for the offer with this seed; NotForUs, Malformed."""
    if not _OVERHEAD * 4 // 3 < len(ufrag) <= MAX_UFRAG:
        raise NotForUs
    try:
        raw = base64.b64decode(ufrag + "=" * (-len(ufrag) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise Malformed from None
    try:
        answer = _box(seed).decrypt(raw[_PREFIX:], _nonce(raw[:_PREFIX]))
    except (CryptoError, ValueError):
        raise NotForUs from None
    if answer_credentials(seed, answer)[0] != ufrag:
        raise Malformed  # one meaning has one form
    return answer


def _box(seed: bytes) -> SecretBox:
    return SecretBox(_derive("answer-key", seed))


def _nonce(prefix: bytes) -> bytes:
    return _derive("answer-box", prefix)[: SecretBox.NONCE_SIZE]


def _derive(purpose: str, *parts: bytes) -> bytes:
    """A tagged hash; only the last part may vary in size."""
    return hashlib.sha256(f"pigeon/{purpose}/v2\0".encode() + b"".join(parts)).digest()


def _ice_chars(data: bytes) -> str:
    return base64.b64encode(data).decode().rstrip("=")
