"""Rooms of any size, ready made: a genuine chain of epochs from the founder up, as records for a store.

Nothing in it is faked: every slot, motion, approval and certificate is signed, and every block is derived
by `ledger.extend`, so a store takes it as if the room had grown by itself.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from chain.block import Certificate, Dep, Head, Slot, block_checkpoint
from chain.control import (
    AdmissionRule,
    Admit,
    Approve,
    Control,
    Genesis,
    Parent,
    Request,
    make_genesis,
    make_request,
)
from chain.crypto import Signer
from chain.ids import Hash, MemberId, RoomId, Signature, SlotId
from chain.ledger import Tip, extend, genesis_tip
from chain.message import UNSIGNED, signed
from chain.records import KeepBlock, KeepEpoch, KeepSlot, Record
from tests.simulation.keys import Scheme


@dataclass(frozen=True, eq=False)
class Seat:
    """One person: both keys and a nick."""

    identity: Signer
    vote: Signer
    nick: str

    @property
    def id(self) -> MemberId:
        return MemberId(self.identity.public)

    def request(self, room: RoomId) -> Request:
        return make_request(room=room, nick=self.nick, identity=self.identity, vote=self.vote)


@dataclass(frozen=True, eq=False)
class Room:
    """A room at the start of an epoch in which all its seats are members."""

    genesis: Genesis
    scheme: Scheme
    seats: tuple[Seat, ...]
    """Ascending by identity, as in the committee."""
    records: tuple[Record, ...]
    """What brings the founder's or anybody's fresh store to `tip`."""
    tip: Tip

    @property
    def id(self) -> RoomId:
        return self.tip.room


@cache
def make_seat(scheme: Scheme, name: str) -> Seat:
    """The same keys for the same name, always."""
    identity, vote = (hashlib.sha256(f"{kind} of {name}".encode()).digest() for kind in ("identity", "vote"))
    return Seat(scheme.signer(identity), scheme.signer(vote), name)


@cache
def make_room(
    n: int, scheme: Scheme, rule: AdmissionRule = AdmissionRule.ASK, parent: Parent | None = None
) -> Room:
    """A room of n members, admitted one after another by votes of everybody before."""
    seats = [make_seat(scheme, f"m{number}") for number in range(n)]
    founder = seats[0]
    genesis = make_genesis(
        name="simulated",
        rule=rule,
        nonce=Hash(bytes(32)),
        nick=founder.nick,
        identity=founder.identity,
        vote=founder.vote,
        parent=parent,
    )
    tip = genesis_tip(genesis)
    records: list[Record] = []
    for count, newcomer in enumerate(seats[1:], start=1):
        step, tip = _admit(tip, seats[:count], newcomer, scheme)
        records += step
    return Room(genesis, scheme, tuple(sorted(seats, key=lambda seat: seat.id)), tuple(records), tip)


def _admit(tip: Tip, seats: Sequence[Seat], newcomer: Seat, scheme: Scheme) -> tuple[list[Record], Tip]:
    """One epoch: the founder moves, as many others as needed approve, a quorum signs the block."""
    places = {tip.committee.place(seat.id): seat for seat in seats}
    voters = [(place, places[place]) for place in range(tip.committee.quorum)]
    slots: dict[int, list[tuple[SlotId, Slot]]] = {}
    cut = list(tip.cut)
    mover, moving = voters[0]
    motion = _slot(tip, mover, moving, Admit(newcomer.request(tip.room)))
    for place, seat in voters:
        slot = motion
        if place != mover:
            dep = Dep(mover, 1, motion.id(tip.room))
            slot = _slot(tip, place, seat, Approve(dep.id, 0), deps=(dep,))
        slot_id = slot.id(tip.room)
        slots[place] = [(slot_id, slot)]
        cut[place] = Head(1, slot_id)
    made = extend(tip, cut=tuple(cut), leader=_sticky_leader(tip), slots=slots, verify=scheme.verify)
    text = block_checkpoint(made.block, room=tip.room, round_=0)
    signatures = tuple((place, Signature(seat.vote.sign(text))) for place, seat in voters)
    certificate = Certificate(0, signatures)
    keep: list[Record] = [KeepSlot(id_, slot, ()) for lane in slots.values() for id_, slot in lane]
    keep.append(KeepBlock(made.tip.block, made.block, certificate, made.items))
    keep.append(KeepEpoch(made.tip.epoch, made.block, certificate, made.tip.frontier.peaks, made.tip.spent))
    return keep, made.tip


def _sticky_leader(tip: Tip) -> MemberId:
    """Who proposes: the sticky leader, as in a run without faults."""
    return tip.committee.members[tip.leader_of(0)].identity


def _slot(tip: Tip, place: int, seat: Seat, control: Control, deps: tuple[Dep, ...] = ()) -> Slot:
    bare = Slot(tip.epoch, place, 1, tip.cut[place].id, deps, (control,), (), 0, UNSIGNED)
    return signed(bare, room=tip.room, key=seat.vote)
