"""A member that runs honest code and says something else: what leaves its machine is bent by its lies.

Each lie bends the messages for one target, one at a time, or acts by itself at times of the dice's choosing.
All liars of a run are one gang: they share what they overheard, and whom they tell which story.
"""

import random
from collections import deque
from collections.abc import Iterable, Mapping, Sequence

from msgspec.structs import replace

from chain.block import Block, Head, Slot
from chain.committee import Committee
from chain.cuts import heads_to_propose, slots_of
from chain.errors import InvalidBlockError
from chain.ids import BlockId, MemberId, SlotId
from chain.ledger import Tip, extend
from chain.message import (
    UNSIGNED,
    Accusation,
    Ack,
    Committed,
    Hello,
    Message,
    Precommit,
    Prevote,
    Propose,
    RoundChange,
    S,
    SlotMessage,
    pack,
    signed,
    unpack,
)
from chain.replica import Replica
from tests.simulation.accusing import accused_place
from tests.simulation.fuzz import Mutator
from tests.simulation.liars import body
from tests.simulation.machine import Node
from tests.simulation.world import World

REMEMBERED = 200
"""Envelopes and proposals that the gang keeps for later."""


class Gang:
    """What all liars of one run know and have agreed on."""

    def __init__(self, world: World, dice: random.Random) -> None:
        self.world = world
        self.dice = dice
        self.lying = True
        self.heard: deque[bytes] = deque(maxlen=REMEMBERED)
        self.proposals: deque[Propose] = deque(maxlen=REMEMBERED)
        self.others: dict[tuple[int, int, int], Block] = {}
        """For some targets: what a lying leader proposed to them instead, by epoch, height and round."""
        self.extras: dict[tuple[int, int, int], SlotMessage] = {}
        """The slot that such a proposal orders and that nobody else was shown."""
        self.forged: list[SlotMessage] = []
        self.mutator = Mutator(dice)
        self.may_vary = False
        """Whether the mutator has seen anything that it could vary."""
        self._sides: dict[Node, bool] = {}

    def side(self, target: Node) -> bool:
        """Which of two stories this honest member is told."""
        if target not in self._sides:
            self._sides[target] = self.dice.random() < 0.5
        return self._sides[target]

    def take_sides(self, sides: Mapping[Node, bool]) -> None:
        """From now on these are told the one story or the other; who is not named, by chance."""
        self._sides = dict(sides)

    def overhear(self, data: bytes, messages: Iterable[Message]) -> None:
        self.heard.append(data)
        for message in messages:
            if isinstance(message, Propose):
                self.proposals.append(message)
            if self.dice.random() < 0.1:
                self.mutator.remember([message])
                self.may_vary = True


class Lie:
    """One way to lie. `bend` changes what is about to be sent; `act` says something unasked."""

    kind = ""
    """Under which its deeds are counted."""

    def __init__(self, liar: "Liar", *, often: float) -> None:
        self.liar = liar
        self.dice = liar.gang.dice
        self.often = often
        """How likely it is to bend what it could."""

    def bend(self, message: Message, target: Node) -> Iterable[Message]:
        """What this target is told instead of `message`."""
        del target
        return (message,)

    def act(self) -> None:
        """Do something of its own accord, now and then."""

    def hear(self, message: Message) -> None:
        """Something reached the liar's machine."""

    def did(self, kind: str | None = None, times: int = 1) -> None:
        """Count it."""
        self.liar.world.tally[kind or self.kind] += times

    def tempted(self) -> bool:
        return self.dice.random() < self.often


class Liar:
    """One member with its honest replica, and the lies that stand between it and the others."""

    def __init__(self, gang: Gang, node: Node) -> None:
        self.gang = gang
        self.world = gang.world
        self.node = node
        self.lies: Sequence[Lie] = ()
        node.honest = False
        node.rewrite = self._rewrite
        node.filter = self._listen

    # What it knows

    @property
    def replica(self) -> Replica | None:
        replica = self.node.replica
        if not isinstance(replica, Replica):
            return None
        # Convicted or not, it goes on: honest code would stop at its own evidence.
        replica.state.lose_journal = lambda detail: None  # type: ignore[method-assign]
        return replica

    @property
    def tip(self) -> Tip:
        replica = self.replica
        return replica.tip if replica is not None else self.world.room.tip

    @property
    def committee(self) -> Committee:
        return self.tip.committee

    @property
    def place(self) -> int | None:
        return self.committee.place(self.node.id)

    def is_mine(self, message: Message) -> bool:
        """Whether this was signed in our place of the present epoch."""
        match message:
            case SlotMessage(slot=slot):
                return slot.lane == self.place and slot.epoch == self.tip.epoch
            case Ack() | Prevote() | Precommit() | RoundChange() | Propose():
                return message.signer == self.place and message.epoch == self.tip.epoch
            case _:
                return False

    def targets(self) -> list[Node]:
        """Honest machines that a link leads to."""
        if self.node.replica is None:
            return []
        links = (link for link in self.node.links.values() if link.up)
        return [other for link in links if (other := link.other(self.node)).honest]

    # What it says

    def sign(self, message: S) -> S:
        """The same, signed by us; what our own replica signs is nobody's account."""
        return signed(message, room=self.world.room.id, key=self.node.seat.vote)

    def tell(self, target: Node, *messages: Message) -> None:
        """Over the link, after whatever it carries already."""
        for data in pack(list(messages)):
            self.world.transmit(self.node, target, data)

    def other_block(self, block: Block, *, without: int | None = None) -> Block | None:
        """A well-formed block at the same place as this one that orders less, or in another's name."""
        replica = self.replica
        if replica is None or block.height != self.tip.height + 1 or block.epoch != self.tip.epoch:
            return None
        broadcast, dice = replica.state.broadcast, self.gang.dice
        if without is None and (forked := self._with_fork(block)) is not None:
            return forked
        moved = [
            place
            for place, (old, new) in enumerate(zip(self.tip.cut, block.cut, strict=False))
            if new.seq > old.seq
        ]
        lane = dice.choice(moved) if without is None and moved else without
        if lane is None or lane not in moved:
            return None
        old, new = self.tip.cut[lane], block.cut[lane]
        shorter = old
        if without is None and new.seq > old.seq + 1:
            chain = broadcast.branch(lane, have=old.seq, head=new)[:-1]
            if chain:
                shorter = Head(chain[-1].slot.seq, chain[-1].id)
        cut = tuple(shorter if place == lane else head for place, head in enumerate(block.cut))
        return self.derived(cut, leader=block.leader)

    def _with_fork(self, block: Block) -> Block | None:
        """The same cut, but for one lane of the gang that ends in the slot which the other side was shown."""
        room = self.world.room.id
        for forged in reversed(self.gang.forged[-16:]):
            slot = forged.slot
            if slot.epoch != block.epoch or slot.lane >= len(block.cut):
                continue
            old, new = self.tip.cut[slot.lane], block.cut[slot.lane]
            if slot.seq != new.seq or not (slot.prev == old.id or new.seq > old.seq + 1):
                continue
            fork = Head(slot.seq, slot.id(room))
            cut = tuple(fork if place == slot.lane else head for place, head in enumerate(block.cut))
            return self.derived(cut, leader=block.leader, fork=forged)
        return None

    def block_with_a_new_slot(self, block: Block) -> tuple[Block, SlotMessage] | None:
        """The same cut and one slot of ours more, which our own replica knows nothing of."""
        place, room = self.place, self.world.room.id
        if place is None or len(block.cut) != self.committee.n or block.epoch != self.tip.epoch:
            return None
        head, said = block.cut[place], body(self.world, self.node)
        slot = self.sign(
            Slot(
                epoch=block.epoch,
                lane=place,
                seq=head.seq + 1,
                prev=head.id,
                deps=(),
                control=(),
                commitments=(said.commitment(room=room, author=self.node.id),),
                claimed_time=0,
                signature=UNSIGNED,
            )
        )
        new = Head(slot.seq, slot.id(room))
        cut = tuple(new if lane == place else old for lane, old in enumerate(block.cut))
        message = SlotMessage(slot, (said,))
        made = self.derived(cut, leader=block.leader, fork=message)
        return None if made is None else (made, message)

    def fresh_block(self) -> Block | None:
        """What an honest leader would propose now, bound or not."""
        replica = self.replica
        if replica is None:
            return None
        return self.derived(heads_to_propose(replica.state.broadcast), leader=self.node.id)

    def derived(
        self, cut: tuple[Head, ...], *, leader: MemberId, fork: SlotMessage | None = None
    ) -> Block | None:
        """What truly follows from a cut, if its slots are here, but for a fork's, and closed under deps."""
        replica = self.replica
        if replica is None or cut == self.tip.cut:
            return None
        known = cut
        if fork is not None:
            lane, old = fork.slot.lane, self.tip.cut[fork.slot.lane]
            below = old if fork.slot.seq == old.seq + 1 else Head(fork.slot.seq - 1, fork.slot.prev)
            known = tuple(below if place == lane else head for place, head in enumerate(cut))
        if len(known) != self.committee.n:
            return None
        slots, missing = slots_of(replica.state.broadcast, known)
        if missing:
            return None
        if fork is not None:
            slots.setdefault(fork.slot.lane, []).append((fork.slot.id(self.world.room.id), fork.slot))
        verify = self.world.scheme.verify
        try:
            return extend(self.tip, cut=cut, leader=leader, slots=slots, verify=verify).block
        except InvalidBlockError:
            return None

    # In and out

    def _rewrite(self, target: Node, data: bytes) -> Iterable[bytes]:
        if not self.gang.lying or not target.honest:
            return (data,)
        before = unpack(data)
        self.gang.overhear(data, before)
        messages = [message for told in before for message in self._bent(told, target)]
        if messages == list(before):
            return (data,)
        return pack(messages)

    def _bent(self, message: Message, target: Node) -> list[Message]:
        told = [message]
        for lie in self.lies:
            told = [after for before in told for after in lie.bend(before, target)]
        return told

    def _listen(self, data: bytes) -> bytes | None:
        """Keep from our honest replica what would tell it that it is not alone in its place."""
        messages = unpack(data)
        self.gang.overhear(data, messages)
        kept = [message for message in messages if not self._gives_us_away(message)]
        for message in messages:
            for lie in self.lies:
                lie.hear(message)
        if any(isinstance(message, Committed) for message in messages):
            kept = list(messages)  # a served block comes with our own slots
        envelopes = pack([_forgets_us(message) for message in kept])
        return envelopes[0] if envelopes else None

    def _gives_us_away(self, message: Message) -> bool:
        if isinstance(message, Accusation):
            return accused_place(message, room=self.tip.room, committee=self.committee) == self.place
        return self.is_mine(message)

    def act(self) -> None:
        """One of its lies, unasked; a replica that tripped over the others' lies starts over."""
        if self.node.replica is None:
            self.world.restart(self.node)
        if self.gang.lying and self.node.replica is not None and self.lies:
            self.gang.dice.choice(self.lies).act()


def _forgets_us(message: Message) -> Message:
    return replace(message, yours=None) if isinstance(message, Hello) else message


def nowhere(dice: random.Random) -> SlotId:
    """The id of a slot that nobody ever made."""
    return SlotId(dice.randbytes(32))


def no_block(dice: random.Random) -> BlockId:
    return BlockId(dice.randbytes(32))
