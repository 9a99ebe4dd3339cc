"""Lies about lanes: forks, dependencies on nothing, missing bodies, acks for everything, floods."""

from collections import deque
from collections.abc import Iterable

from msgspec.structs import replace

from chain.block import Dep, Head, Slot
from chain.ids import SlotId
from chain.message import UNSIGNED, Ack, Message, Precommit, Prevote, RoundChange, SlotMessage
from tests.simulation.adversary import Liar, Lie, no_block, nowhere
from tests.simulation.fuzz import NUMBERS
from tests.simulation.liars import body
from tests.simulation.machine import Node


class ForksSlots(Lie):
    """One side sees another slot at the same place, and the following ones on top of that."""

    kind = "slot_forks"

    def __init__(self, liar: Liar, *, often: float) -> None:
        super().__init__(liar, often=often)
        self._variants: dict[SlotId, SlotMessage] = {}

    def bend(self, message: Message, target: Node) -> Iterable[Message]:
        if not isinstance(message, SlotMessage) or not self.liar.is_mine(message):
            return (message,)
        if not self.liar.gang.side(target):
            return (message,)
        variant = self._variant(message)
        return (message,) if variant is None else (variant,)

    def _variant(self, message: SlotMessage) -> SlotMessage | None:
        room = self.liar.world.room.id
        slot_id = message.slot.id(room)
        if slot_id in self._variants:
            return self._variants[slot_id]
        before = self._variants.get(message.slot.prev)
        if before is None and not self.tempted():
            return None
        variant = self._rewritten(message, prev=before.slot.id(room) if before else message.slot.prev)
        self._variants[slot_id] = variant
        self.liar.gang.forged.append(variant)
        self.did()
        return variant

    def _rewritten(self, message: SlotMessage, *, prev: SlotId) -> SlotMessage:
        slot, world, node = message.slot, self.liar.world, self.liar.node
        if not slot.commitments:
            return SlotMessage(
                self.liar.sign(replace(slot, prev=prev, claimed_time=slot.claimed_time + 1)), ()
            )
        said = body(world, node)
        commitment = said.commitment(room=world.room.id, author=node.id)
        return SlotMessage(self.liar.sign(replace(slot, prev=prev, commitments=(commitment,))), (said,))


class BadDeps(Lie):
    """A slot whose dependencies are out of order, of its own lane, of another place, or of nothing at all."""

    kind = "malformed_deps"

    def bend(self, message: Message, target: Node) -> Iterable[Message]:
        if not isinstance(message, SlotMessage) or not self.liar.is_mine(message) or not self.tempted():
            return (message,)
        slot, dice = message.slot, self.dice
        others = [place for place in range(self.liar.committee.n) if place != slot.lane]
        if not others:
            return (message,)
        lane, floor = dice.choice(others), self.liar.tip.cut
        if dice.random() < 0.5:
            deps = self._never_certified(slot, lane=lane, seq=floor[lane].seq + dice.choice((1, 1, 2, 70)))
            self.did("never_certified_deps")
        else:
            deps = dice.choice(
                (
                    (*slot.deps, Dep(slot.lane, max(1, slot.seq - 1), slot.prev)),
                    (Dep(lane, floor[lane].seq + 1, nowhere(dice)),) * 2,
                    (Dep(30, 1, nowhere(dice)),),
                    (Dep(lane, 0, nowhere(dice)),),
                    tuple(reversed(slot.deps)) if len(slot.deps) > 1 else (Dep(lane, 1, slot.prev),),
                    tuple(replace(dep, seq=dep.seq + 1) for dep in slot.deps) or (Dep(lane, 3, slot.prev),),
                )
            )
            self.did()
        forged = SlotMessage(self.liar.sign(replace(slot, deps=deps)), message.bodies)
        return (forged,) if dice.random() < 0.5 else (forged, message)

    def _never_certified(self, slot: Slot, *, lane: int, seq: int) -> tuple[Dep, ...]:
        forks = [forged.slot for forged in self.liar.gang.forged if forged.slot.lane == lane != slot.lane]
        if forks and self.dice.random() < 0.7:
            fork = self.dice.choice(forks)
            made = Dep(lane, fork.seq, fork.id(self.liar.world.room.id))
        else:
            made = Dep(lane, seq, nowhere(self.dice))
        return tuple(sorted((*(d for d in slot.deps if d.lane != lane), made), key=lambda dep: dep.lane))


class WithholdsBodies(Lie):
    """Slots come without their bodies, with others' bodies, or not at all, asked for or not."""

    kind = "withheld_bodies"

    def bend(self, message: Message, target: Node) -> Iterable[Message]:
        if not isinstance(message, SlotMessage) or not self.tempted():
            return (message,)
        self.did()
        match self.dice.randrange(3):
            case 0:
                return (SlotMessage(message.slot, ()),)
            case 1:
                return (SlotMessage(message.slot, (*message.bodies, body(self.liar.world, self.liar.node))),)
            case _:
                return ()


class AcksEverything(Lie):
    """Vouches for every slot it ever saw, on every branch, and for some that do not exist."""

    kind = "acked_everything"

    def __init__(self, liar: Liar, *, often: float) -> None:
        super().__init__(liar, often=often)
        self._heads: deque[tuple[int, int, Head]] = deque(maxlen=40)
        self._ackseq = 0

    def hear(self, message: Message) -> None:
        if isinstance(message, SlotMessage) and not self.liar.is_mine(message):
            slot = message.slot
            self._heads.append((slot.epoch, slot.lane, Head(slot.seq, slot.id(self.liar.world.room.id))))

    def bend(self, message: Message, target: Node) -> Iterable[Message]:
        if not isinstance(message, Ack) or not self.liar.is_mine(message) or not self.tempted():
            return (message,)
        place, epoch, room = self.liar.place, self.liar.tip.epoch, self.liar.world.room.id
        heads = [(lane, head) for of, lane, head in self._heads if of == epoch]
        for forged in self.liar.gang.forged[-8:]:
            if forged.slot.epoch == epoch and forged.slot.lane != place:
                heads.append((forged.slot.lane, Head(forged.slot.seq, forged.slot.id(room))))
        if self.dice.random() < 0.3:
            lane = self.dice.randrange(self.liar.committee.n)
            if lane != place:
                heads.append((lane, Head(self.liar.tip.cut[lane].seq + 1, nowhere(self.dice))))
        self._ackseq = max(self._ackseq, message.ackseq)
        acks: list[Message] = [message]
        for lane, head in self.dice.sample(heads, min(4, len(heads))):
            self._ackseq += 1
            acks.append(self.liar.sign(replace(message, ackseq=self._ackseq, entries=((lane, head),))))
            self.did()
        return acks


class Floods(Lie):
    """Far sequence numbers, heights, rounds and epochs, in numbers, some of it large."""

    kind = "sequence_floods"

    def act(self) -> None:
        targets, place = self.liar.targets(), self.liar.place
        if not targets or place is None:
            return
        target = self.dice.choice(targets)
        made: list[Message] = []
        for _ in range(self.dice.choice((5, 20, 60))):
            made.append(self._something(place))
        self.liar.tell(target, *made)
        self.did(times=len(made))

    def _something(self, place: int) -> Message:
        tip, dice = self.liar.tip, self.dice
        epoch = tip.epoch + dice.choice((0, 0, 0, 0, 1, 1000))
        height = tip.height + dice.choice((1, 1, 1, 2, 5, 2**40))
        round_ = dice.choice((*NUMBERS[:-1], 2**32))
        match dice.randrange(6):
            case 0:
                return self.liar.sign(RoundChange(epoch, height, round_, place, None, UNSIGNED))
            case 1:
                return self.liar.sign(
                    Prevote(epoch, height, round_, place, no_block(dice), nowhere(dice), UNSIGNED)
                )
            case 2:
                block = no_block(dice)
                return self.liar.sign(
                    Precommit(epoch, height, round_, place, block, tip.frontier.size, nowhere(dice), UNSIGNED)
                )
            case 3 if len(tip.cut) > 1:
                lane = dice.choice([lane for lane in range(len(tip.cut)) if lane != place])
                head = Head(tip.cut[lane].seq + dice.choice((1, 64, 128, 129)), nowhere(dice))
                return self.liar.sign(Ack(epoch, place, dice.choice(NUMBERS), ((lane, head),), UNSIGNED))
            case _:
                return self._slot(epoch, place)

    def _slot(self, epoch: int, place: int) -> SlotMessage:
        world, node, dice = self.liar.world, self.liar.node, self.dice
        said = body(world, node, size=dice.choice((20, 20, 20, 8000)))
        slot = Slot(
            epoch=epoch,
            lane=place,
            seq=self.liar.tip.cut[place].seq + dice.choice((2, 3, 5, 63, 64, 65, 127, 128, 129, 2**30)),
            prev=nowhere(dice),
            deps=(),
            control=(),
            commitments=(said.commitment(room=world.room.id, author=node.id),),
            claimed_time=dice.choice((0, 2**53)),
            signature=UNSIGNED,
        )
        return SlotMessage(self.liar.sign(slot), (said,))
