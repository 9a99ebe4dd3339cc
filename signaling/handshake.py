"""The proof of identity that opens every channel, without I/O: messages in, messages out; proven or failed.

Both sides send COMMIT (a hash of their nonce); whoever has the other's COMMIT sends REVEAL: flags, the nonce
and a signature over role, flags, both identities, both descriptions' hashes, the DTLS exporter and both
commitments. A wrong fingerprint, a replay or a relay in between changes one of these. The commitments come
first so that a man in the middle has one guess at the words.
"""

import hashlib
import hmac
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, assert_never

from nacl.exceptions import BadSignatureError
from nacl.signing import SigningKey, VerifyKey

VERSION: Final = 2
_COMMIT: Final = 0xC1  # no link message begins with these
_REVEAL: Final = 0xC2
_COMMIT_SIZE: Final = 2 + 32
_REVEAL_SIZE: Final = 2 + 1 + 32 + 64
_GUEST: Final = 0x01  # the one flag there is: I am no member, and come to be let in


class Role(Enum):
    """Who offered and who answered; part of what is signed, so that a proof cannot be turned around."""

    OFFERER = 1
    ANSWERER = 2


@dataclass(frozen=True, kw_only=True)
class Binding:
    """What both ends must agree on; `exporter` is RFC 9266's channel binding of this DTLS session."""

    offerer: bytes
    answerer: bytes
    offer_hash: bytes
    answer_hash: bytes
    exporter: bytes

    def digest(self) -> bytes:
        """Fixed-size fields under one tag."""
        fields = (self.offerer, self.answerer, self.offer_hash, self.answer_hash, self.exporter)
        if any(len(field) != 32 for field in fields):
            raise ValueError("every field of a binding has 32 bytes")
        return hashlib.sha256(b"pigeon/binding/v1\0" + b"".join(fields)).digest()


@dataclass(frozen=True)
class Send:
    """Put these bytes on the channel as one message."""

    message: bytes


@dataclass(frozen=True)
class Proven:
    """The peer holds its identity key and sits at the other end of this very session."""

    peer: bytes
    words: tuple[str, str, str, str]
    guest: bool
    """It says that it is a newcomer; who does not may lie: who is a member stands in the record."""


@dataclass(frozen=True)
class Failed:
    """The channel must be closed; `reason` is for a log."""

    reason: str


Effect = Send | Proven | Failed


class _State(Enum):
    IDLE = auto()
    COMMITTED = auto()
    REVEALED = auto()
    PROVEN = auto()
    FAILED = auto()


class Handshake:
    """One side of it. Call `start()` once, `receive()` for each message; do the effects in order."""

    def __init__(
        self, *, key: SigningKey, role: Role, binding: Binding, nonce: bytes, guest: bool = False
    ) -> None:
        """`nonce`: 32 random bytes, never used twice. `guest`: we are the one who is no member yet."""
        if len(nonce) != 32:
            raise ValueError("a nonce has 32 bytes")
        self._key, self._role, self._nonce = key, role, nonce
        self._flags = _GUEST if guest else 0
        self._binding = binding.digest()
        self._offerer, self._answerer = binding.offerer, binding.answerer
        me, self._peer = binding.offerer, binding.answerer
        if role is Role.ANSWERER:
            me, self._peer = self._peer, me
        if me != bytes(key.verify_key):
            raise ValueError("the binding names another identity than this key's")
        self._commitment = _commitment(role, self._binding, nonce)
        self._peer_commitment = b""
        self._state = _State.IDLE

    def start(self) -> list[Effect]:
        """Our commitment; linking to oneself fails at once."""
        assert self._state is _State.IDLE
        if self._peer == bytes(self._key.verify_key):
            return self._fail("the peer claims our own identity")
        self._state = _State.COMMITTED
        return [Send(bytes((_COMMIT, VERSION)) + self._commitment)]

    def receive(self, message: bytes) -> list[Effect]:
        """Whatever the bytes are, the worst they do is Failed."""
        match self._state:
            case _State.COMMITTED:
                return self._on_commit(message)
            case _State.REVEALED:
                return self._on_reveal(message)
            case _State.FAILED:
                return []
            case _State.IDLE | _State.PROVEN:
                raise RuntimeError(f"a message for a handshake that is {self._state.name.lower()}")
            case _:
                assert_never(self._state)

    def _on_commit(self, message: bytes) -> list[Effect]:
        if len(message) != _COMMIT_SIZE or message[0] != _COMMIT:
            return self._fail("not a commitment")
        if message[1] != VERSION:
            return self._fail(f"handshake version {message[1]} is not spoken here")
        if message[2:] == self._commitment:
            return self._fail("our own commitment came back")
        self._peer_commitment = message[2:]
        self._state = _State.REVEALED
        proof = self._key.sign(self._transcript(self._role, self._flags)).signature
        return [Send(bytes((_REVEAL, VERSION, self._flags)) + self._nonce + proof)]

    def _on_reveal(self, message: bytes) -> list[Effect]:
        if len(message) != _REVEAL_SIZE or message[0] != _REVEAL or message[1] != VERSION:
            return self._fail("not a proof")
        flags, nonce, proof = message[2], message[3:35], message[35:]
        if flags & ~_GUEST:
            return self._fail("it says of itself what is not understood here")
        other = Role.ANSWERER if self._role is Role.OFFERER else Role.OFFERER
        if not hmac.compare_digest(_commitment(other, self._binding, nonce), self._peer_commitment):
            return self._fail("the nonce is not the one committed to")
        try:
            VerifyKey(self._peer).verify(self._transcript(other, flags), proof)
        except (BadSignatureError, ValueError, TypeError):
            return self._fail("the peer could not prove its identity for this session")
        self._state = _State.PROVEN
        mine_first = self._role is Role.OFFERER
        nonces = self._nonce + nonce if mine_first else nonce + self._nonce
        words = safety_words(self._offerer + self._answerer, nonces)
        return [Proven(self._peer, words, guest=bool(flags & _GUEST))]

    def _transcript(self, role: Role, flags: int) -> bytes:
        commitments = self._commitment + self._peer_commitment
        if self._role is Role.ANSWERER:
            commitments = self._peer_commitment + self._commitment
        return b"pigeon/proof/v2\0" + bytes((role.value, flags)) + self._binding + commitments

    def _fail(self, reason: str) -> list[Effect]:
        self._state = _State.FAILED
        return [Failed(reason)]


def safety_words(identities: bytes, nonces: bytes) -> tuple[str, str, str, str]:
    """Four of BIP-39's 2,048 English words: 44 bits of a hash over both identities and both nonces."""
    digest = hashlib.sha256(b"pigeon/words/v1\0" + identities + nonces).digest()
    bits = int.from_bytes(digest, "big") >> (256 - 44)
    words = _wordlist()
    first, second, third, fourth = (words[bits >> shift & 0x7FF] for shift in (33, 22, 11, 0))
    return first, second, third, fourth


def _wordlist() -> list[str]:
    from mnemonic import Mnemonic  # reads a file: only when a link is made

    return list(Mnemonic("english").wordlist)


def _commitment(role: Role, binding: bytes, nonce: bytes) -> bytes:
    return hashlib.sha256(b"pigeon/commit/v1\0" + bytes((role.value,)) + binding + nonce).digest()
