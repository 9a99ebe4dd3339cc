"""Homes of a room of four whose fourth member was away: genuine keys, settings and stores, made in seconds.

Nothing in the record is faked: every slot and certificate is signed with the keys that lie in the homes,
and every block is derived by `ledger.extend`. Nobody holds the keys of a real person.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from chain.block import Body, Certificate, Head, Slot, block_checkpoint
from chain.control import AdmissionRule
from chain.crypto import Ed25519Signer, ed25519_verify
from chain.ids import Signature, SlotId
from chain.ledger import Tip, extend
from chain.message import UNSIGNED, signed
from chain.records import KeepBlock, KeepSlot, Record
from chain.store import Store
from node.config import Home, RoomConfig, make_private_directory
from node.content import text_body
from tests.simulation.keys import ED25519
from tests.simulation.room import Room, Seat, make_room

MEMBERS = 4
_BATCH = 512  # blocks of one transaction


@dataclass(frozen=True)
class Shape:
    """How so many messages lie in blocks: each block has `lanes` slots with `bodies` messages each."""

    messages: int
    lanes: int = 1
    bodies: int = 1

    @property
    def blocks(self) -> int:
        return -(-self.messages // (self.lanes * self.bodies))


@dataclass(frozen=True)
class Missed:
    """The homes, by nick; `away` is whose store ends before the first of the messages."""

    room: Room
    homes: dict[str, Path]
    away: str
    first: str
    """The peer that is asked first: a liar in its place can do the most."""
    tip: Tip

    @property
    def fingerprint(self) -> str:
        return self.room.id.hex()

    @property
    def peers(self) -> list[str]:
        return [nick for nick in self.homes if nick != self.away]


def make_homes(place: Path, shape: Shape, *, lobby: Path) -> Missed:
    """Four homes in `place` that meet in `lobby`; the room's rule is `auto`, so that a newcomer may join."""
    room = make_room(MEMBERS, ED25519, AdmissionRule.AUTO)
    *peers, away = room.seats
    homes = {seat.nick: place / seat.nick for seat in room.seats}
    stores = {seat.nick: _furnish(homes[seat.nick], seat, room, lobby) for seat in room.seats}
    tip = room.tip
    for store in stores.values():
        store.apply(room.records)
    batch: list[Record] = []
    for number, (records, after) in enumerate(_blocks(room, shape), start=1):
        batch += records
        tip = after
        if number % _BATCH == 0 or number == shape.blocks:
            for seat in peers:
                stores[seat.nick].apply(batch)
            batch = []
    for store in stores.values():
        store.close()
    return Missed(room, homes, away.nick, peers[0].nick, tip)


def _furnish(path: Path, seat: Seat, room: Room, lobby: Path) -> Store:
    home, fingerprint = Home.at(path), room.id.hex()
    make_private_directory(home.room_directory(fingerprint))
    for file, kind in ((home.identity_file, "identity"), (home.vote_file(fingerprint), "vote")):
        seed = hashlib.sha256(f"{kind} of {seat.nick}".encode()).digest()  # as in make_seat
        public = Ed25519Signer(seed).public
        assert public in (seat.identity.public, seat.vote.public)
        content = {"v": 1, "purpose": kind, "seed": seed.hex(), "public": public.hex()}
        file.touch(mode=0o600)
        file.write_bytes(msgspec.json.encode(content))
    home.save(
        RoomConfig(
            name=room.genesis.name,
            fingerprint=fingerprint,
            nick=seat.nick,
            via=(f"dir:{lobby}",),
            rule="auto",
            created=1_800_000_000_000,
        )
    )
    return Store.create(home.store_file(fingerprint), genesis=room.genesis, me=seat.id, verify=ed25519_verify)


def _blocks(room: Room, shape: Shape) -> Iterator[tuple[list[Record], Tip]]:
    """The records of each block, and the state after it; the peers speak in turns, and sign."""
    seats, tip, said = room.seats[:-1], room.tip, 0
    for block in range(shape.blocks):
        records: list[Record] = []
        slots: dict[int, list[tuple[SlotId, Slot]]] = {}
        cut = list(tip.cut)
        for place in sorted((block + lane) % len(seats) for lane in range(shape.lanes)):
            until = min(said + shape.bodies, shape.messages)
            texts = [f"message {number}: see you at eight" for number in range(said, until)]
            if not texts:
                break
            said = until
            kept = _slot(tip, seats[place], place, [text_body(text) for text in texts])
            records.append(kept)
            slots[place] = [(kept.id, kept.slot)]
            cut[place] = Head(kept.slot.seq, kept.id)
        leader = tip.committee.members[tip.leader_of(0)].identity
        made = extend(tip, cut=tuple(cut), leader=leader, slots=slots, verify=ed25519_verify)
        text = block_checkpoint(made.block, room=room.id, round_=0)
        signatures = tuple((place, Signature(seat.vote.sign(text))) for place, seat in enumerate(seats))
        records.append(KeepBlock(made.tip.block, made.block, Certificate(0, signatures), made.items))
        tip = made.tip
        yield records, tip


def _slot(tip: Tip, seat: Seat, place: int, bodies: Sequence[Body]) -> KeepSlot:
    head = tip.cut[place]
    bare = Slot(
        epoch=tip.epoch,
        lane=place,
        seq=head.seq + 1,
        prev=head.id,
        deps=(),
        control=(),
        commitments=tuple(body.commitment(room=tip.room, author=seat.id) for body in bodies),
        claimed_time=1_800_000_000_000 + tip.height,
        signature=UNSIGNED,
    )
    slot = signed(bare, room=tip.room, key=seat.vote)
    return KeepSlot(slot.id(tip.room), slot, tuple(bodies))
