"""Sealing to a recipient's identity, padded, so that who carries it learns neither addresses nor names.

A NaCl sealed box to the X25519 form of the recipient's Ed25519 key. It says nothing about the sender: what
is inside is signed.
"""

from typing import Final

from nacl.exceptions import CryptoError
from nacl.public import PublicKey, SealedBox
from nacl.signing import SigningKey, VerifyKey

from signaling.errors import BadKey, Malformed, NotForUs, Oversize

BUCKET: Final = 512  # every sealed parcel is a multiple of this
MAX_SEALED: Final = 16 * 1024
_OVERHEAD: Final = 48 + 2  # the box's own, and the length


def seal(payload: bytes, *, to: bytes) -> bytes:
    """Only the holder of identity `to` can open it; BadKey when nothing can be sealed to that key."""
    size = -(-(len(payload) + _OVERHEAD) // BUCKET) * BUCKET
    if size > MAX_SEALED:
        raise ValueError(f"{len(payload)} bytes are too many to seal")
    padded = (len(payload).to_bytes(2, "big") + payload).ljust(size - 48, b"\0")
    return bytes(SealedBox(sealing_key(to)).encrypt(padded))


def sealing_key(identity: bytes) -> PublicKey:
    """What to seal to for this identity, or BadKey.

    A key with a small-order part can be made by anyone, and signs well; it only cannot be sealed to.
    """
    try:
        return VerifyKey(identity).to_curve25519_public_key()
    except (CryptoError, ValueError, TypeError):
        raise BadKey from None


def unseal(sealed: bytes, *, key: SigningKey) -> bytes:
    """The payload, or SignalError: NotForUs when it does not open."""
    if len(sealed) > MAX_SEALED:
        raise Oversize
    if not sealed or len(sealed) % BUCKET:
        raise Malformed
    try:
        padded = SealedBox(key.to_curve25519_private_key()).decrypt(sealed)
    except (CryptoError, ValueError, TypeError):
        raise NotForUs from None
    length = int.from_bytes(padded[:2], "big")
    if length > len(padded) - 2 or any(padded[2 + length :]):
        raise Malformed
    return padded[2 : 2 + length]
