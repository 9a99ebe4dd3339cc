"""Signals of a meeting: compressed, padded, and sealed under a key that only the namespace's name gives.

A hub knows the hash of the name and no more, so it can neither read signals nor make any; unless it guesses
the name, and then it can do both. What is sealed is bound to its role: an answer to the very offer it is to.

    signal  nonce (24), XChaCha20-Poly1305 of: length (u16), raw DEFLATE of the payload, zeros; n * 512 bytes
"""

import hashlib
import zlib
from dataclasses import dataclass
from typing import Final

from nacl.exceptions import CryptoError
from nacl.secret import Aead

from signaling.errors import Malformed, NotForUs, Oversize, SignalError
from signaling.meet_keys import Role, role_text

MAX_PAYLOAD: Final = 4096
MAX_NAME: Final = 256
BUCKET: Final = 512
_MAX_SIGNAL: Final = 8 * BUCKET + BUCKET
_OVERHEAD: Final = Aead.NONCE_SIZE + Aead.MACBYTES
_LENGTH: Final = 2


class BadNamespace(SignalError):
    """Nobody meets there."""

    message = f"A namespace is 1 to {MAX_NAME} bytes of text."
    hint = "Agree on another name."


@dataclass(frozen=True)
class Namespace:
    """Where two meet who know its name. It is compared as it is written, byte by byte."""

    name: str

    def __post_init__(self) -> None:
        try:
            encoded = self.name.encode()
        except UnicodeEncodeError:
            raise BadNamespace from None
        if not 0 < len(encoded) <= MAX_NAME:
            raise BadNamespace

    @property
    def place(self) -> str:
        """What the hub sees of it, 64 hex digits."""
        return hashlib.sha256(b"pigeon/meet-place/v1\0" + self.name.encode()).hexdigest()

    @property
    def _key(self) -> bytes:
        return hashlib.sha256(b"pigeon/meet-key/v1\0" + self.name.encode()).digest()

    def seal(self, payload: bytes, role: Role) -> bytes:
        """For whoever knows the name; at most 4 KiB."""
        if len(payload) > MAX_PAYLOAD:
            raise ValueError(f"{len(payload)} bytes are too many for a signal")
        deflate = zlib.compressobj(zlib.Z_BEST_COMPRESSION, zlib.DEFLATED, -zlib.MAX_WBITS)
        packed = deflate.compress(payload) + deflate.flush()
        size = -(-(len(packed) + _LENGTH + _OVERHEAD) // BUCKET) * BUCKET - _OVERHEAD
        padded = (len(packed).to_bytes(_LENGTH, "big") + packed).ljust(size, b"\0")
        return bytes(Aead(self._key).encrypt(padded, aad=role_text(role, namespace=self.place.encode())))

    def open(self, signal: bytes, role: Role) -> bytes:
        """The payload; SignalError: NotForUs for what was sealed by somebody else, or for something else."""
        if len(signal) > _MAX_SIGNAL:
            raise Oversize
        if len(signal) < BUCKET or len(signal) % BUCKET:
            raise Malformed
        try:
            padded = Aead(self._key).decrypt(signal, aad=role_text(role, namespace=self.place.encode()))
        except (CryptoError, ValueError, TypeError):
            raise NotForUs from None
        end = _LENGTH + int.from_bytes(padded[:_LENGTH], "big")
        if end > len(padded) or any(padded[end:]):
            raise Malformed
        return _inflate(padded[_LENGTH:end])


def _inflate(packed: bytes) -> bytes:
    """Never more than a payload may have, whatever it says."""
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        payload = inflate.decompress(packed, MAX_PAYLOAD + 1)
    except zlib.error:
        raise Malformed from None
    if len(payload) > MAX_PAYLOAD:
        raise Oversize
    if not inflate.eof or inflate.unused_data or inflate.unconsumed_tail:
        raise Malformed
    return payload
