"""What changes a room rather than talks in it: genesis, requests to join, motions and approvals.

These stand in clear in slot headers. Whether a motion counts is decided in membership.py.
"""

from enum import StrEnum
from typing import Annotated

import msgspec

from chain.codec import Record, decode, encode
from chain.crypto import Signer, Verifier, preimage, tagged_hash
from chain.errors import MalformedError
from chain.ids import NO_ROOM, BlockId, Hash, MemberId, RoomId, Signature, SlotId, VoteKey

MAX_GENESIS = 2048
MAX_NICK = 32
MAX_NAME = 64
MAX_EVIDENCE = 16 * 1024

Nick = Annotated[str, msgspec.Meta(max_length=MAX_NICK)]


class AdmissionRule(StrEnum):
    """How a quorum comes together for a newcomer: by hand, or by itself for a valid invitation."""

    ASK = "ask"
    AUTO = "auto"


class Anchor(Record, frozen=True):
    """An epoch-final block somebody vouched for outside the room."""

    height: int
    block: BlockId


class Parent(Record, frozen=True):
    """The room this one continues, by its last certified block."""

    room: RoomId
    block: BlockId


class Genesis(Record, frozen=True):
    """Height 0: the founder alone. Signed by both keys of the founder; its hash is the room id."""

    name: Annotated[str, msgspec.Meta(max_length=MAX_NAME)]
    rule: AdmissionRule
    nonce: Hash
    parent: Parent | None
    founder: MemberId
    vote_key: VoteKey
    nick: Nick
    identity_signature: Signature
    vote_signature: Signature

    def room_id(self) -> RoomId:
        return RoomId(tagged_hash("genesis", room=NO_ROOM, epoch=0, payload=encode(self)))

    def holds(self, verify: Verifier) -> bool:
        payload = _genesis_preimage(
            self.name, self.rule, self.nonce, self.parent, self.founder, self.vote_key, self.nick
        )
        return (
            is_plain_name(self.name, MAX_NAME)
            and is_plain_name(self.nick, MAX_NICK)
            and verify(self.founder, payload, self.identity_signature)
            and verify(self.vote_key, payload, self.vote_signature)
        )


def _genesis_preimage(*fields: object) -> bytes:
    return preimage("genesis-keys", room=NO_ROOM, epoch=0, payload=encode(fields))


def make_genesis(
    *,
    name: str,
    rule: AdmissionRule,
    nonce: Hash,
    nick: str,
    identity: Signer,
    vote: Signer,
    parent: Parent | None = None,
) -> Genesis:
    """The first block of a new room; `nonce` is 32 random bytes."""
    founder, vote_key = MemberId(identity.public), VoteKey(vote.public)
    payload = _genesis_preimage(name, rule, nonce, parent, founder, vote_key, nick)
    return Genesis(
        name, rule, nonce, parent, founder, vote_key, nick, identity.sign(payload), vote.sign(payload)
    )


def decode_genesis(data: bytes, *, room: RoomId, verify: Verifier) -> Genesis:
    """The genesis of exactly this room, or MalformedError."""
    genesis = decode(data, Genesis, limit=MAX_GENESIS)
    if genesis.room_id() != room or not genesis.holds(verify):
        raise MalformedError("this genesis does not hash to the room's fingerprint")
    return genesis


_INVISIBLE = frozenset(
    chr(code)
    for first, last in (
        (0x00, 0x1F),  # controls
        (0x7F, 0xA0),  # more controls, and the no-break space
        (0xAD, 0xAD),  # soft hyphen
        (0x061C, 0x061C),  # Arabic letter mark
        (0x180E, 0x180E),
        (0x2000, 0x200F),  # spaces, joiners, direction marks
        (0x2028, 0x202F),  # line separators, direction overrides
        (0x205F, 0x206F),  # invisible operators, direction isolates
        (0x3000, 0x3000),
        (0xFE00, 0xFE0F),  # variation selectors
        (0xFEFF, 0xFEFF),
        (0xFFF9, 0xFFFF),
        (0xE0000, 0xE0FFF),  # tags
    )
    for code in range(first, last + 1)
)


def is_plain_name(text: str, limit: int) -> bool:
    """Nothing invisible, no space at either end, 1 to `limit` characters: fit for a nick or a room's name.

    Members must agree on this whatever their Python, so no table of Unicode properties is asked.
    """
    return 0 < len(text) <= limit and _INVISIBLE.isdisjoint(text) and text == text.strip(" ")


class Voucher(Record, frozen=True):
    """A member's signed word that whoever holds the private half of `key` may ask to join.

    `key` is derived from the invitation's one-use secret, so possession is shown by a signature and
    anyone can check it without learning the secret.
    """

    inviter: MemberId
    key: Hash
    expires: int
    """Seconds since 1970, judged by each approver's own clock, never by a validity rule."""
    signature: Signature

    def holds(self, *, room: RoomId, verify: Verifier) -> bool:
        return verify(self.inviter, _voucher_preimage(room, self.key, self.expires), self.signature)


def _voucher_preimage(room: RoomId, key: Hash, expires: int) -> bytes:
    return preimage("voucher", room=room, epoch=0, payload=encode((key, expires)))


def make_voucher(*, room: RoomId, key: Hash, expires: int, inviter: Signer) -> Voucher:
    """Vouch for the holder of `key` until `expires` (seconds since 1970)."""
    signature = inviter.sign(_voucher_preimage(room, key, expires))
    return Voucher(MemberId(inviter.public), key, expires, signature)


class Request(Record, frozen=True):
    """Somebody's signed wish to be a member with this vote key and nick."""

    room: RoomId
    identity: MemberId
    vote_key: VoteKey
    nick: Nick
    voucher: Voucher | None
    anchor: Anchor | None
    identity_signature: Signature
    vote_signature: Signature
    possession: Signature | None
    """By the voucher's key: the newcomer holds the invitation's secret."""

    def holds(self, *, room: RoomId, verify: Verifier) -> bool:
        """Every signature in it is right and the names are plain; says nothing of who may join."""
        if self.room != room or not is_plain_name(self.nick, MAX_NICK):
            return False
        if (self.voucher is None) != (self.possession is None):
            return False
        payload = _request_preimage(room, self.identity, self.vote_key, self.nick, self.voucher, self.anchor)
        if not verify(self.identity, payload, self.identity_signature):
            return False
        if not verify(self.vote_key, payload, self.vote_signature):
            return False
        if self.voucher is None or self.possession is None:
            return True
        return self.voucher.holds(room=room, verify=verify) and verify(
            self.voucher.key, payload, self.possession
        )


def _request_preimage(room: RoomId, *fields: object) -> bytes:
    return preimage("request", room=room, epoch=0, payload=encode(fields))


def make_request(
    *,
    room: RoomId,
    nick: str,
    identity: Signer,
    vote: Signer,
    voucher: Voucher | None = None,
    invitation: Signer | None = None,
    anchor: Anchor | None = None,
) -> Request:
    """Ask to join; `invitation` signs with the key that `voucher` names."""
    member, vote_key = MemberId(identity.public), VoteKey(vote.public)
    payload = _request_preimage(room, member, vote_key, nick, voucher, anchor)
    return Request(
        room,
        member,
        vote_key,
        nick,
        voucher,
        anchor,
        identity.sign(payload),
        vote.sign(payload),
        invitation.sign(payload) if invitation else None,
    )


class Admit(Record, frozen=True, tag=1):
    request: Request


class Remove(Record, frozen=True, tag=2):
    member: MemberId


class Rekey(Record, frozen=True, tag=3):
    request: Request


class Approve(Record, frozen=True, tag=4):
    """Names a motion by the slot and the position it stands at."""

    slot: SlotId
    position: int


class Accuse(Record, frozen=True, tag=5):
    """Evidence that a vote key signed what no honest member signs (see evidence.py), encoded."""

    evidence: Annotated[bytes, msgspec.Meta(max_length=MAX_EVIDENCE)]


Motion = Admit | Remove | Rekey
Control = Admit | Remove | Rekey | Approve | Accuse
