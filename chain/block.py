"""Slots, blocks and certificates: the things that are hashed and kept for good."""

import base64
import hashlib
from typing import Annotated

import msgspec

from chain.codec import Record, encode
from chain.committee import MAX_MEMBERS, Committee
from chain.control import Control
from chain.crypto import Verifier, preimage, tagged_hash
from chain.ids import BlockId, Hash, MemberId, RoomId, Signature, SlotId

SLOT_BODIES = 32
SLOT_BODY_BYTES = 64 * 1024
SLOT_CONTROL = 16
SLOT_CONTROL_BYTES = 24 * 1024
"""So much of a header we fill with control items, unless one alone is larger; a piece of evidence fits."""
SLOT_HEADER_BYTES = 32 * 1024
"""A header with its control items; two of them and their envelope stay far below one message's limit."""
SALT_SIZE = 32
UUID_SIZE = 16

Counter = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Place = Annotated[int, msgspec.Meta(ge=0, lt=MAX_MEMBERS)]
"""A member's index in its epoch's committee."""


class Head(Record, frozen=True):
    """The last slot of a lane's prefix: how many slots, and the id of the last."""

    seq: Counter
    id: SlotId


class Dep(Record, frozen=True):
    lane: Place
    seq: Counter
    id: SlotId


class Body(Record, frozen=True):
    """What was said: 32 bytes of salt, then a 16-byte uuid and the content."""

    salt: Annotated[bytes, msgspec.Meta(min_length=SALT_SIZE, max_length=SALT_SIZE)]
    data: Annotated[bytes, msgspec.Meta(min_length=UUID_SIZE, max_length=SLOT_BODY_BYTES)]

    @property
    def uuid(self) -> bytes:
        """What it is known by, in whatever slot it stands."""
        return self.data[:UUID_SIZE]

    def commitment(self, *, room: RoomId, author: MemberId) -> Hash:
        payload = author + self.salt + self.data
        return tagged_hash("body", room=room, epoch=0, payload=payload)


class Slot(Record, frozen=True):
    """One signed step of a member's lane. Bodies travel beside it and are bound by commitments."""

    epoch: Counter
    lane: Place
    seq: Counter
    prev: SlotId
    deps: Annotated[tuple[Dep, ...], msgspec.Meta(max_length=MAX_MEMBERS)]
    control: Annotated[tuple[Control, ...], msgspec.Meta(max_length=SLOT_CONTROL)]
    commitments: Annotated[tuple[Hash, ...], msgspec.Meta(max_length=SLOT_BODIES)]
    claimed_time: Counter
    """Milliseconds since 1970 by the author's clock."""
    signature: Signature

    def id(self, room: RoomId) -> SlotId:
        """The hash of the header's stub; the signature is over this hash and not part of it."""
        return self.stub(room).id(room)

    def stub(self, room: RoomId) -> "SlotStub":
        """The header with its long part replaced by a hash."""
        rest = encode((self.deps, self.control, self.commitments, self.claimed_time))
        contents = tagged_hash("slot-contents", room=room, epoch=self.epoch, payload=rest)
        return SlotStub(self.epoch, self.lane, self.seq, self.prev, contents)

    def preimage(self, room: RoomId) -> bytes:
        return slot_preimage(self.id(room), room=room, epoch=self.epoch)

    @property
    def position(self) -> tuple[int, int]:
        return self.lane, self.seq


def slot_preimage(slot_id: SlotId, *, room: RoomId, epoch: int) -> bytes:
    """What the owner of a lane signs."""
    return preimage("slot-signature", room=room, epoch=epoch, payload=slot_id)


class SlotStub(Record, frozen=True):
    """What names a slot: where it stands, what it follows, and the hash of what it says.

    Evidence and chains of slots are made of these: about 80 bytes each, whatever the slot holds.
    """

    epoch: Counter
    lane: Place
    seq: Counter
    prev: SlotId
    contents: Hash

    def id(self, room: RoomId) -> SlotId:
        return SlotId(tagged_hash("slot", room=room, epoch=self.epoch, payload=encode(self)))


class Leaf(Record, frozen=True):
    """One ordered item: a control entry in clear, or the commitment to a body."""

    author: MemberId
    slot: SlotId
    position: Counter
    content: Hash | Control


def leaves_of(slot: Slot, *, slot_id: SlotId, author: MemberId) -> list[Leaf]:
    """A slot's items in order: control entries first, then bodies."""
    contents: tuple[Hash | Control, ...] = (*slot.control, *slot.commitments)
    return [Leaf(author, slot_id, position, content) for position, content in enumerate(contents)]


class Block(Record, frozen=True):
    """An agreed cut through all lanes, and the log it leads to."""

    epoch: Counter
    height: Counter
    prev: BlockId
    leader: MemberId
    """Who first proposed it."""
    cut: Annotated[tuple[Head, ...], msgspec.Meta(min_length=1, max_length=MAX_MEMBERS)]
    log_size: Counter
    log_root: Hash
    committee: Hash
    next_committee: Committee | None

    def id(self, room: RoomId) -> BlockId:
        return BlockId(tagged_hash("block", room=room, epoch=self.epoch, payload=encode(self)))


class Certificate(Record, frozen=True):
    """Signatures of a quorum under one checkpoint text, ascending by place."""

    round: Counter
    signatures: Annotated[tuple[tuple[Place, Signature], ...], msgspec.Meta(max_length=MAX_MEMBERS)]


def checkpoint_text(
    *, room: RoomId, epoch: int, height: int, round_: int, block: BlockId, log_size: int, log_root: Hash
) -> bytes:
    """The text a member signs when it precommits (C2SP tlog-checkpoint; the last line is our extension)."""
    return (
        f"pigeon.invalid/{room.hex()}\n{log_size}\n{base64.b64encode(log_root).decode()}\n"
        f"pigeon/v1 {epoch} {height} {round_} {base64.b64encode(block).decode()}\n"
    ).encode()


def block_checkpoint(block: Block, *, room: RoomId, round_: int) -> bytes:
    """The checkpoint text of one block in one round."""
    return checkpoint_text(
        room=room,
        epoch=block.epoch,
        height=block.height,
        round_=round_,
        block=block.id(room),
        log_size=block.log_size,
        log_root=block.log_root,
    )


def certificate_holds(
    certificate: Certificate, block: Block, *, room: RoomId, committee: Committee, verify: Verifier
) -> bool:
    """Whether a quorum of `committee` signed exactly this block in one round."""
    places = [place for place, _ in certificate.signatures]
    if places != sorted(set(places)) or len(places) < committee.quorum:
        return False
    text = block_checkpoint(block, room=room, round_=certificate.round)
    return all(
        place < committee.n and verify(committee.members[place].vote_key, text, signature)
        for place, signature in certificate.signatures
    )


NOTE_ED25519 = b"\x01"


def note_key_name(room: RoomId, member: MemberId) -> str:
    return f"pigeon.invalid/{room.hex()}/{member.hex()}"


def signed_note(certificate: Certificate, block: Block, *, room: RoomId, committee: Committee) -> str:
    """The certificate as a C2SP signed note: the checkpoint, a blank line, one line a signer."""
    lines = [block_checkpoint(block, room=room, round_=certificate.round).decode(), "\n"]
    for place, signature in certificate.signatures:
        member = committee.members[place]
        name = note_key_name(room, member.identity)
        key_hash = hashlib.sha256(name.encode() + b"\n" + NOTE_ED25519 + member.vote_key).digest()[:4]
        lines.append(f"\N{EM DASH} {name} {base64.b64encode(key_hash + signature).decode()}\n")
    return "".join(lines)
