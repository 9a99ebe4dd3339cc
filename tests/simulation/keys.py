"""Signature schemes for simulated rooms: real Ed25519, or a keyed hash that no simulated node can forge."""

import hashlib
from typing import Protocol

from chain.crypto import Ed25519Signer, Signer, ed25519_verify
from chain.ids import Signature


class Scheme(Protocol):
    """Makes signers from 32-byte seeds and verifies what they sign."""

    def __hash__(self) -> int: ...

    def signer(self, seed: bytes) -> Signer: ...

    def verify(self, public: bytes, message: bytes, signature: bytes) -> bool: ...


class Ed25519Scheme:
    def signer(self, seed: bytes) -> Signer:
        return Ed25519Signer(seed)

    def verify(self, public: bytes, message: bytes, signature: bytes) -> bool:
        return ed25519_verify(public, message, signature)


class HashScheme:
    """Signatures are hashes under one secret of the simulator: ten times faster, and as unforgeable.

    Nodes get signers and the verifier, never the secret; like Ed25519 it is deterministic.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def signer(self, seed: bytes) -> Signer:
        return _HashSigner(self, hashlib.sha256(b"public" + seed).digest())

    def mark(self, public: bytes, message: bytes) -> bytes:
        return hashlib.blake2b(public + message, key=self._secret, digest_size=64).digest()

    def verify(self, public: bytes, message: bytes, signature: bytes) -> bool:
        return self.mark(public, message) == signature


class _HashSigner:
    def __init__(self, scheme: HashScheme, public: bytes) -> None:
        self._scheme = scheme
        self.public = public

    def sign(self, message: bytes) -> Signature:
        return Signature(self._scheme.mark(self.public, message))


ED25519 = Ed25519Scheme()
HASHED = HashScheme(b"nobody in the room knows this")
