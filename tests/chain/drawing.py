"""A room drawn by hand: slots, blocks and certificates as honest members make them, without any protocol."""

import hashlib
from collections.abc import Callable, Sequence

from chain.block import Block, Body, Certificate, Dep, Head, Slot, block_checkpoint
from chain.control import AdmissionRule, Admit, Approve, Control, Genesis, make_genesis, make_request
from chain.crypto import Ed25519Signer, ed25519_verify
from chain.ids import Hash, MemberId, SlotId
from chain.ledger import Tip, extend, genesis_tip
from chain.message import UNSIGNED, signed
from chain.records import KeepBlock, KeepEpoch, KeepSlot, Record


def seed(*names: object) -> bytes:
    """32 bytes that depend on the names only."""
    return hashlib.sha256(repr(names).encode()).digest()


class Person:
    def __init__(self, nick: str) -> None:
        self.nick = nick
        self.identity = Ed25519Signer(seed("identity", nick))
        self.vote = Ed25519Signer(seed("vote", nick))
        self.id = MemberId(self.identity.public)


def body(text: str) -> Body:
    return Body(seed("salt", text), seed("uuid", text)[:16] + text.encode())


class Room:
    """Keeps the true state; every method returns the records that a member's replica would keep."""

    def __init__(self, founder: str = "ann") -> None:
        self.people = {founder: Person(founder)}
        person = self.people[founder]
        self.me = person.id
        self.genesis: Genesis = make_genesis(
            name="room",
            rule=AdmissionRule.ASK,
            nonce=Hash(seed("nonce")),
            nick=founder,
            identity=person.identity,
            vote=person.vote,
        )
        self.id = self.genesis.room_id()
        self.tip: Tip = genesis_tip(self.genesis)
        self.history: list[Record] = []
        """All records so far, in order."""
        self._chains: dict[int, list[tuple[SlotId, Slot]]] = {}
        self._bodies: dict[SlotId, tuple[Body, ...]] = {}

    def person_at(self, lane: int) -> Person:
        identity = self.tip.committee.members[lane].identity
        return next(person for person in self.people.values() if person.id == identity)

    def lane(self, nick: str) -> int:
        place = self.tip.committee.place(self.people[nick].id)
        assert place is not None
        return place

    def head(self, lane: int) -> Head:
        chain = self._chains.get(lane)
        return Head(chain[-1][1].seq, chain[-1][0]) if chain else self.tip.cut[lane]

    def slot(
        self,
        lane: int,
        bodies: Sequence[Body] = (),
        *,
        control: Sequence[Control] = (),
        deps: Sequence[Dep] = (),
    ) -> KeepSlot:
        """The next slot of a lane, not in any block yet."""
        person, head = self.person_at(lane), self.head(lane)
        slot = Slot(
            epoch=self.tip.epoch,
            lane=lane,
            seq=head.seq + 1,
            prev=head.id,
            deps=tuple(deps),
            control=tuple(control),
            commitments=tuple(one.commitment(room=self.id, author=person.id) for one in bodies),
            claimed_time=1_700_000_000_000 + 1000 * self.tip.height + head.seq,
            signature=UNSIGNED,
        )
        slot = signed(slot, room=self.id, key=person.vote)
        slot_id = slot.id(self.id)
        self._chains.setdefault(lane, []).append((slot_id, slot))
        self._bodies[slot_id] = tuple(bodies)
        return self._kept(KeepSlot(slot_id, slot, tuple(bodies)))

    def say(self, nick: str, *texts: str) -> KeepSlot:
        return self.slot(self.lane(nick), [body(text) for text in texts])

    def block(self) -> list[Record]:
        """A certified block over every slot so far; with the start of the next epoch if it ends one."""
        cut = tuple(self.head(lane) for lane in range(self.tip.committee.n))
        extension = extend(
            self.tip, cut=cut, leader=self.tip.leader, slots=self._chains, verify=ed25519_verify
        )
        certificate = self.certificate(extension.block)
        block_id = extension.block.id(self.id)
        records: list[Record] = [KeepBlock(block_id, extension.block, certificate, extension.items)]
        after = extension.tip
        if after.epoch != self.tip.epoch:
            records.append(
                KeepEpoch(after.epoch, extension.block, certificate, after.frontier.peaks, after.spent)
            )
        self.tip = after
        self._chains = {}
        self.history += records
        return records

    def certificate(self, block: Block, *, round_: int = 0, signers: int | None = None) -> Certificate:
        committee = self.tip.committee
        text = block_checkpoint(block, room=self.id, round_=round_)
        lanes = range(committee.quorum if signers is None else signers)
        return Certificate(round_, tuple((lane, self.person_at(lane).vote.sign(text)) for lane in lanes))

    def admit(self, nick: str) -> list[Record]:
        """Everyone wants a newcomer: motion, approvals, the epoch-final block."""
        person = self.people[nick] = Person(nick)
        request = make_request(room=self.id, nick=nick, identity=person.identity, vote=person.vote)
        motion = self.slot(0, control=[Admit(request)])
        approve = Approve(motion.id, 0)
        dep = Dep(0, motion.slot.seq, motion.id)
        others = [
            self.slot(lane, control=[approve], deps=[dep]) for lane in range(1, self.tip.committee.quorum)
        ]
        return [motion, *others, *self.block()]

    def _kept(self, record: KeepSlot) -> KeepSlot:
        self.history.append(record)
        return record


def grown_room(*, nicks: Sequence[str] = ("bob", "cal"), blocks: int = 3) -> Room:
    """A room that admitted some people, each epoch with a few blocks of talk by everyone."""
    room = Room()
    talk(room, blocks)
    for nick in nicks:
        room.admit(nick)
        talk(room, blocks)
    return room


def talk(room: Room, blocks: int, *, text: Callable[[str, int], str] | None = None) -> None:
    text = text or (lambda nick, height: f"{nick} says something at {height}")
    for _ in range(blocks):
        for lane in range(room.tip.committee.n):
            nick = room.person_at(lane).nick
            room.say(nick, text(nick, room.tip.height + 1))
        room.block()
