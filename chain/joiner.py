"""A newcomer's walk: epoch-final blocks from the room's fingerprint to the committee that has us in it.

Trusts nothing but the fingerprint (and the anchor of the invitation, if it names one).
"""

from dataclasses import dataclass

from chain.control import Anchor, Genesis, decode_genesis
from chain.crypto import Verifier
from chain.errors import ChainError, InvalidBlockError
from chain.ids import MemberId, RoomId
from chain.ledger import tip_after_final
from chain.membership import MAX_SPENT
from chain.merkle import Frontier
from chain.message import Finals, Hello, Message, PullFinals, Refusal, pack, unpack
from chain.records import KeepEpoch
from chain.walk import Walk

MAX_EPOCHS = 2 * MAX_SPENT
"""Each epoch used up a key or an invitation, or removed a member that had."""


@dataclass(frozen=True, slots=True)
class JoinStep:
    """What one envelope led to."""

    send: tuple[bytes, ...] = ()
    genesis: Genesis | None = None
    """The room's genesis, when it was just seen for the first time."""
    admitted: tuple[KeepEpoch, ...] | None = None
    """The whole walk, once its last committee has us in it: what a store is begun with."""
    refused: str | None = None
    """The member we asked says why it cannot admit us (a peer's words: not for a terminal as they are)."""
    fault: str | None = None
    """The peer sent something wrong; another one may do better."""


class Joiner:
    """The walk over one link."""

    def __init__(self, *, room: RoomId, identity: MemberId, anchor: Anchor | None, verify: Verifier) -> None:
        self._room = room
        self._identity = identity
        self._anchor = anchor
        self._verify = verify
        self._walk: Walk | None = None
        self._epochs: list[KeepEpoch] = []
        self.genesis: Genesis | None = None

    def start(self) -> list[bytes]:
        """Envelopes to send when a link to a member is up."""
        return pack([PullFinals(self._epoch)])

    @property
    def _epoch(self) -> int:
        return self._walk.epoch if self._walk is not None else 0

    def receive(self, data: bytes) -> JoinStep:
        """Take in one envelope from the member; never raises for what it holds."""
        step = JoinStep()
        try:
            for message in unpack(data):
                step = self._merge(step, self._on_message(message))
        except ChainError as error:
            return JoinStep(fault=str(error))
        return step

    def _on_message(self, message: Message) -> JoinStep:
        match message:
            case Hello(epoch=epoch):
                return JoinStep(send=tuple(self.start())) if epoch > self._epoch else JoinStep()
            case Finals():
                return self._on_finals(message)
            case Refusal(reason=reason):
                return JoinStep(refused=reason)
            case _:
                return JoinStep()

    def _on_finals(self, message: Finals) -> JoinStep:
        seen = None
        if self._walk is None:
            if message.epoch != 0:
                return JoinStep()
            seen = self.genesis = decode_genesis(message.genesis, room=self._room, verify=self._verify)
            self._walk = Walk.from_genesis(seen, verify=self._verify, anchor=self._anchor)
        before = len(self._epochs)
        for final in message.finals:
            if final.block.epoch < self._walk.epoch:
                continue  # asked twice, answered twice
            if len(self._epochs) >= MAX_EPOCHS:
                raise InvalidBlockError("no room has so many epochs: somebody makes them up")
            self._walk.follow(final.block, final.certificate)
            self._epochs.append(KeepEpoch(self._walk.epoch, final.block, final.certificate, None, None))
        send: tuple[bytes, ...] = ()
        if message.more:
            # Who says so and shows nothing new is asked again in a while, and not at once.
            send = tuple(self.start()) if len(self._epochs) > before else ()
        elif self._walk.committee.place(self._identity) is not None:
            return JoinStep(genesis=seen, admitted=self._finish(self._walk, message))
        return JoinStep(send=send, genesis=seen)

    def _finish(self, walk: Walk, message: Finals) -> tuple[KeepEpoch, ...]:
        """The last step must bring the state that the final block vouches for."""
        if not self._epochs:
            raise InvalidBlockError("the founder of a room does not join it")
        if not walk.anchored:
            raise InvalidBlockError("this room's record lacks the block the invitation vouches for")
        last = self._epochs[-1]
        frontier = Frontier(last.final.log_size, message.frontier)
        tip_after_final(room=self._room, block=last.final, frontier=frontier, spent=message.spent)
        whole = KeepEpoch(last.epoch, last.final, last.certificate, message.frontier, message.spent)
        return (*self._epochs[:-1], whole)

    @staticmethod
    def _merge(one: JoinStep, other: JoinStep) -> JoinStep:
        return JoinStep(
            send=tuple(dict.fromkeys((*one.send, *other.send))),
            genesis=one.genesis or other.genesis,
            admitted=one.admitted or other.admitted,
            refused=one.refused or other.refused,
            fault=one.fault or other.fault,
        )
