"""Tagged hashes and Ed25519 signatures: each names its purpose, the room and the epoch it belongs to."""

import hashlib
from functools import lru_cache
from typing import Protocol

import nacl.exceptions
import nacl.signing

from chain.ids import Hash, RoomId, Signature


def preimage(tag: str, *, room: RoomId, epoch: int, payload: bytes) -> bytes:
    """What is hashed or signed for one purpose: domain tag, room, epoch (8 bytes, big-endian), payload."""
    return b"pigeon/" + tag.encode("ascii") + b"/v1\0" + room + epoch.to_bytes(8, "big") + payload


def tagged_hash(tag: str, *, room: RoomId, epoch: int, payload: bytes) -> Hash:
    """SHA-256 over the tagged preimage."""
    return Hash(hashlib.sha256(preimage(tag, room=room, epoch=epoch, payload=payload)).digest())


class Signer(Protocol):
    """A key that can sign; `public` is 32 bytes."""

    @property
    def public(self) -> bytes: ...

    def sign(self, message: bytes) -> Signature: ...


class Verifier(Protocol):
    """Says whether `signature` over `message` was made with the private half of `public`."""

    def __call__(self, public: bytes, message: bytes, signature: bytes) -> bool: ...


class Ed25519Signer:
    """A signing key made from its 32-byte seed."""

    def __init__(self, seed: bytes) -> None:
        self._key = nacl.signing.SigningKey(seed)
        self.public = bytes(self._key.verify_key)

    def sign(self, message: bytes) -> Signature:
        return Signature(self._key.sign(message).signature)


@lru_cache(maxsize=256)
def _verify_key(public: bytes) -> nacl.signing.VerifyKey:
    key = nacl.signing.VerifyKey(public)
    key.to_curve25519_public_key()  # refuses points with a small-order part: nobody can seal to such a key
    return key


def ed25519_verify(public: bytes, message: bytes, signature: bytes) -> bool:
    """Ed25519 (RFC 8032) verification; false for anything that is not a valid signature."""
    try:
        _verify_key(public).verify(message, signature)
    except (nacl.exceptions.CryptoError, ValueError, TypeError):
        return False
    return True
