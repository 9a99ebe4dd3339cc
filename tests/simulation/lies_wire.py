"""Lies on the wire: silence towards some, lateness, replays, junk, untrue answers and greetings."""

from collections.abc import Iterable, Sequence
from functools import partial

from msgspec.structs import replace

from chain.block import Certificate
from chain.ids import Signature
from chain.message import (
    BlockMessage,
    Committed,
    Hello,
    Message,
    Precommit,
    Propose,
    RoundChange,
    Rounds,
    SlotMessage,
    Standing,
)
from tests.simulation.adversary import Liar, Lie, no_block, nowhere
from tests.simulation.fuzz import signed_again
from tests.simulation.machine import Node


class Selective(Lie):
    """Some members hear nothing from it for a while, or never anything of one kind."""

    kind = "sent_to_some_only"
    _KINDS: Sequence[tuple[type[Message], ...]] = (
        (SlotMessage,),
        (Precommit,),
        (Propose, RoundChange),
        (Committed, BlockMessage),
        (Hello,),
    )

    def __init__(self, liar: Liar, *, often: float) -> None:
        super().__init__(liar, often=often)
        self._deaf: set[Node] = set()
        self._mute = self.dice.choice((*self._KINDS, ()))

    def bend(self, message: Message, target: Node) -> Iterable[Message]:
        if target in self._deaf and (not self._mute or isinstance(message, self._mute)):
            self.did()
            return ()
        return (message,)

    def act(self) -> None:
        honest = [node for node in self.liar.world.nodes if node.honest]
        self._deaf = {node for node in honest if self.dice.random() < self.often}
        self._mute = self.dice.choice((*self._KINDS, ()))


class Late(Lie):
    """What should go out at once goes out when it can do most harm, or never."""

    kind = "late_sends"

    def bend(self, message: Message, target: Node) -> Iterable[Message]:
        if isinstance(message, Hello) or not self.tempted():
            return (message,)
        self.did()
        delay = self.dice.choice((0.05, 0.5, 2.0, 8.0))
        self.liar.world.at(delay, partial(self._send, target, message))
        return ()

    def _send(self, target: Node, message: Message) -> None:
        if self.liar.gang.lying and target in self.liar.targets():
            self.liar.tell(target, message)


class Replays(Lie):
    """What anybody said once is said again, to others, much later, in another epoch."""

    kind = "replays"

    def act(self) -> None:
        targets, heard = self.liar.targets(), self.liar.gang.heard
        if not targets or not heard:
            return
        for _ in range(self.dice.choice((1, 5, 20))):
            world, target = self.liar.world, self.dice.choice(targets)
            world.transmit(self.liar.node, target, self.dice.choice(heard))
            self.did()


class NearlyTrue(Lie):
    """True messages of anybody with a field or three changed, signed again or not; they frame others, too."""

    kind = "nearly_true"

    def act(self) -> None:
        mutator, tip = self.liar.gang.mutator, self.liar.tip
        targets = self.liar.targets()
        if not targets or not self.liar.gang.may_vary:
            return
        for _ in range(self.dice.choice((1, 4, 16))):
            message = mutator.message()
            if self.dice.random() < 0.5:
                message = signed_again(
                    message,
                    self.liar.node.seat,
                    room=self.liar.world.room.id,
                    epoch=tip.epoch,
                    committee=tip.committee,
                )
            if isinstance(message, SlotMessage):
                self._own_up(message)
            try:
                self.liar.tell(self.dice.choice(targets), message)
            except (OverflowError, TypeError, ValueError):
                continue  # no encoder takes it: not even a liar can send this
            self.did()

    def _own_up(self, message: SlotMessage) -> None:
        """Whatever gets ordered under our name we have said."""
        if self.liar.is_mine(message):
            for body in message.bodies:
                self.liar.world.properties.said(body, author=self.liar.node.id, honest=False)


class Garbage(Lie):
    """Bytes: random ones, and true envelopes cut short, run together or with a bit flipped."""

    kind = "garbage"

    def act(self) -> None:
        targets, gang = self.liar.targets(), self.liar.gang
        for target in targets[:3]:
            data = self.dice.randbytes(self.dice.choice((0, 1, 40, 4000)))
            if gang.heard:
                true = self.dice.choice(gang.heard)
                data = self.dice.choice(
                    (
                        data,
                        true[: self.dice.randrange(len(true))],
                        true + data,
                        gang.mutator.flipped(true),
                    )
                )
            self.liar.world.transmit(self.liar.node, target, data)
            self.did()


class WrongAnswers(Lie):
    """Blocks with a certificate of too few, of others, of another block; or not the block asked for."""

    kind = "wrong_answers"

    def bend(self, message: Message, target: Node) -> Iterable[Message]:
        match message:
            case Committed() if self.tempted():
                self.did()
                return (self._wrong(message),)
            case BlockMessage(block=block) if self.tempted():
                self.did()
                return (BlockMessage(replace(block, log_size=block.log_size + 1)),)
            case _:
                return (message,)

    def _wrong(self, message: Committed) -> Committed:
        certificate, dice = message.certificate, self.dice
        signatures = certificate.signatures
        mine = [(place, Signature(dice.randbytes(64))) for place, _ in signatures]
        return dice.choice(
            (
                Committed(message.block, Certificate(certificate.round + 1, signatures)),
                Committed(message.block, Certificate(certificate.round, signatures[1:])),
                Committed(message.block, Certificate(certificate.round, tuple(mine))),
                Committed(message.block, Certificate(certificate.round, signatures[:1] * len(signatures))),
                Committed(replace(message.block, prev=no_block(dice)), certificate),
                Committed(replace(message.block, height=message.block.height + 1), certificate),
            )
        )


class FalseHello(Lie):
    """Claims heights it has not, links it has not, and to hold more of the receiver's than there is."""

    kind = "false_hellos"

    def bend(self, message: Message, target: Node) -> Iterable[Message]:
        if not isinstance(message, Hello) or not self.tempted():
            return (message,)
        self.did()
        return (self._false(message),)

    def _false(self, hello: Hello) -> Hello:
        dice, everybody = self.dice, tuple(member.identity for member in self.liar.committee.members)
        standing = hello.yours or Standing(0, nowhere(dice), 0, Rounds())
        return dice.choice(
            (
                replace(hello, height=hello.height + dice.choice((1, 3, 2**40))),
                replace(hello, height=max(0, hello.height - 1)),
                replace(hello, epoch=hello.epoch + 1, height=hello.height + 1),
                replace(hello, block=no_block(dice)),
                replace(hello, linked=everybody),
                replace(hello, linked=()),
                replace(hello, yours=replace(standing, seq=standing.seq + 1)),
                replace(hello, yours=replace(standing, ackseq=standing.ackseq + 5)),
                replace(hello, yours=None, mine=None),
                replace(hello, mine=None if hello.mine is None else replace(hello.mine, seq=0, ackseq=0)),
                replace(hello, reply=True),
            )
        )

    def act(self) -> None:
        replica = self.liar.replica
        if replica is None:
            return
        tip = replica.tip
        for target in self.liar.targets():
            hello = Hello(tip.epoch, tip.height, tip.block, (), None, None, reply=True)
            self.liar.tell(target, *[self._false(hello) for _ in range(self.dice.choice((1, 1, 10)))])
            self.did()
