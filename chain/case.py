"""A case: evidence in a file of its own, with all that a stranger needs to check it offline.

JSON around canonical bytes: what stands there for people has to agree with what the bytes show.
"""

import base64
from dataclasses import dataclass
from typing import Annotated, assert_never, cast

import msgspec

from chain.block import certificate_holds
from chain.codec import Record, decode, encode
from chain.committee import Committee
from chain.control import MAX_GENESIS, Anchor, Genesis, decode_genesis
from chain.court import culprits
from chain.crypto import Verifier
from chain.errors import ChainError, InvalidBlockError, MalformedError
from chain.evidence import (
    BrokenPromise,
    TwoAcks,
    TwoBranches,
    TwoSlots,
    TwoVotes,
    Unjustified,
    convict,
    epoch_of,
)
from chain.ids import HASH_SIZE, BlockId, RoomId
from chain.message import Committed, Final
from chain.walk import Walk

VERSION = 1
MAX_CASE = 16 * 1024 * 1024
MAX_CASE_FINALS = 8192
FORK = "two certified blocks at one height"


class OtherVersionError(ChainError):
    """The file is a case of a version that this program does not know."""


class Fork(Record, frozen=True, tag=7):
    """Two blocks that contradict each other, a quorum under each: more members lied than the room can bear.

    Of one height, or the second right above the first and built on another.
    """

    one: Committed
    other: Committed


Exhibit = TwoSlots | TwoAcks | TwoBranches | TwoVotes | BrokenPromise | Unjustified | Fork
EXHIBIT = cast(type[Exhibit], Exhibit)


class _Proof(Record, frozen=True):
    genesis: Annotated[bytes, msgspec.Meta(max_length=MAX_GENESIS)]
    finals: Annotated[tuple[Final, ...], msgspec.Meta(max_length=MAX_CASE_FINALS)]
    exhibit: Exhibit


class Accused(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whose key it was, in hex, and the nick that the committee of its epoch knows it by."""

    member: str
    nick: str


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pigeon: str
    v: int
    room: str
    kind: str
    where: str
    accused: tuple[Accused, ...]
    proof: str


class _Version(msgspec.Struct, frozen=True):
    pigeon: str
    v: int


@dataclass(frozen=True, slots=True)
class Case:
    """What a file shows, each signature and hash in it checked."""

    room: RoomId
    epoch: int
    kind: str
    where: str
    """The position that was signed for, in words."""
    accused: tuple[Accused, ...]
    """Every member whose key is shown to have broken the protocol; for a fork maybe none can be named."""
    smallest_quorum: int
    """So few signers could have made up the committees that this rests on; 1 without an anchor."""
    anchored: bool
    """Whether an anchor was given, and the walk went through it."""


def make_case(*, genesis: bytes, finals: tuple[Final, ...], exhibit: Exhibit, verify: Verifier) -> bytes:
    """The file's bytes; `finals` are all final blocks up to the epoch that the exhibit is about."""
    proof = _Proof(genesis, finals, exhibit)
    room = _room_of(genesis)
    case = _judged(proof, room=room, anchor=None, verify=verify)
    file = _File(
        "evidence",
        VERSION,
        room.hex(),
        case.kind,
        case.where,
        case.accused,
        base64.b64encode(encode(proof)).decode(),
    )
    return msgspec.json.format(msgspec.json.encode(file), indent=2) + b"\n"


def check_case(data: bytes, *, verify: Verifier, anchor: Anchor | None = None) -> Case:
    """Check a file with nothing but itself; with an anchor, its committees have to lead through that.

    MalformedError: no such file. OtherVersionError: made by another pigeon. InvalidBlockError: it does not
    show what it says. Whether it is about the room one asks about is for the caller to compare.
    """
    if len(data) > MAX_CASE:
        raise MalformedError(f"{len(data)} bytes where at most {MAX_CASE} are allowed")
    try:
        said = msgspec.json.decode(data, type=_Version)
        if said.pigeon != "evidence":
            raise MalformedError("this file is no evidence")
        if said.v != VERSION:
            raise OtherVersionError(f"version {said.v}; this program knows {VERSION}")
        file = msgspec.json.decode(data, type=_File)
        packed = base64.b64decode(file.proof, validate=True)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise MalformedError(f"this file is no evidence: {error}") from None
    proof = decode(packed, _Proof, limit=MAX_CASE)
    room = _room_of(proof.genesis)
    case = _judged(proof, room=room, anchor=anchor, verify=verify)
    if (file.room, file.kind, file.where, file.accused) != (room.hex(), case.kind, case.where, case.accused):
        raise InvalidBlockError("what the file says in words is not what its proof shows")
    return case


def parse_reference(text: str) -> tuple[RoomId, Anchor | None]:
    """A room's fingerprint (64 hex digits), or an anchor: fingerprint:height:block; ValueError otherwise."""
    room, *rest = text.strip().lower().split(":")
    anchor = None
    if rest:
        height, block = rest
        if not (height.isascii() and height.isdigit()):
            raise ValueError("a height is a number")  # one below 0 would be on every way
        anchor = Anchor(int(height), BlockId(_hash(block)))
    return RoomId(_hash(room)), anchor


def reference(room: RoomId, anchor: Anchor) -> str:
    """An anchor in one line, as `parse_reference` reads it."""
    return f"{room.hex()}:{anchor.height}:{anchor.block.hex()}"


def _hash(text: str) -> bytes:
    data = bytes.fromhex(text)
    if len(data) != HASH_SIZE:
        raise ValueError("a fingerprint has 64 hex digits")
    return data


def _room_of(genesis: bytes) -> RoomId:
    return decode(genesis, Genesis, limit=MAX_GENESIS).room_id()


def _judged(proof: _Proof, *, room: RoomId, anchor: Anchor | None, verify: Verifier) -> Case:
    genesis = decode_genesis(proof.genesis, room=room, verify=verify)
    walk = Walk.from_genesis(genesis, verify=verify, anchor=anchor)
    for final in proof.finals:
        walk.follow(final.block, final.certificate)
    if not walk.anchored:
        raise InvalidBlockError("the file does not reach the block that the anchor names")
    match proof.exhibit:
        case Fork():
            epoch = proof.exhibit.one.block.epoch
            where, places = _judge_fork(proof.exhibit, walk, verify=verify)
            kind = FORK
        case TwoSlots() | TwoAcks() | TwoBranches() | TwoVotes() | BrokenPromise() | Unjustified():
            epoch = epoch_of(proof.exhibit)
            found = convict(proof.exhibit, room=room, committee=walk.committee, verify=verify)
            if found is None:
                raise InvalidBlockError("the signatures in the file do not show what it says")
            kind, where, places = found.kind, found.where, [found.place]
        case _:
            assert_never(proof.exhibit)
    if epoch != walk.epoch:
        raise InvalidBlockError(f"the file leads to epoch {walk.epoch} and is about epoch {epoch}")
    return Case(
        room=room,
        epoch=epoch,
        kind=kind,
        where=where,
        accused=tuple(_accused(walk.committee, place) for place in places),
        smallest_quorum=walk.smallest_quorum,
        anchored=anchor is not None,
    )


def _accused(committee: Committee, place: int) -> Accused:
    member = committee.members[place]
    return Accused(member.identity.hex(), member.nick)


def _judge_fork(fork: Fork, walk: Walk, *, verify: Verifier) -> tuple[str, list[int]]:
    one, other = fork.one, fork.other
    below = one.block.id(walk.room)
    same_height = one.block.height == other.block.height and below != other.block.id(walk.room)
    passed_over = one.block.height + 1 == other.block.height and below != other.block.prev
    if one.block.epoch != other.block.epoch or not (same_height or passed_over):
        raise InvalidBlockError("the two blocks do not contradict each other")
    for message in (one, other):
        if not certificate_holds(
            message.certificate, message.block, room=walk.room, committee=walk.committee, verify=verify
        ):
            raise InvalidBlockError(f"block {message.block.height} lacks a quorum's signatures")
    if not same_height:
        return f"height {one.block.height} of epoch {one.block.epoch}", []
    convicted = (
        convict(evidence, room=walk.room, committee=walk.committee, verify=verify)
        for evidence in culprits(one, other, room=walk.room, committee=walk.committee, verify=verify)
    )
    places = sorted({found.place for found in convicted if found is not None})
    return f"height {one.block.height} of epoch {one.block.epoch}", places
