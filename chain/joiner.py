"""A newcomer's walk: epoch-final blocks from the room's fingerprint to the committee that has us in it.

Trusts nothing but the fingerprint (and the anchor of the invitation, if it names one).
"""

from dataclasses import dataclass

from chain.control import Anchor, Genesis, decode_genesis
from chain.crypto import Verifier
from chain.errors import ChainError, InvalidBlockError
from chain.ids import MemberId, RoomId
from chain.ledger import Tip, follow_final, genesis_tip, tip_after_final
from chain.merkle import Frontier
from chain.message import Finals, Hello, Message, PullFinals, Refusal, pack, unpack
from chain.records import KeepEpoch


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
    """The walk over one link. `tip` is right in room, epoch and committee only, until the last step."""

    def __init__(self, *, room: RoomId, identity: MemberId, anchor: Anchor | None, verify: Verifier) -> None:
        self._room = room
        self._identity = identity
        self._anchor = anchor
        self._verify = verify
        self._tip: Tip | None = None
        self._walk: list[KeepEpoch] = []
        self.genesis: Genesis | None = None

    def start(self) -> list[bytes]:
        """Envelopes to send when a link to a member is up."""
        return pack([PullFinals(self._tip.epoch if self._tip else 0)])

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
                known = self._tip.epoch if self._tip else 0
                return JoinStep(send=tuple(self.start())) if epoch > known else JoinStep()
            case Finals():
                return self._on_finals(message)
            case Refusal(reason=reason):
                return JoinStep(refused=reason)
            case _:
                return JoinStep()

    def _on_finals(self, message: Finals) -> JoinStep:
        seen = None
        if self._tip is None:
            if message.epoch != 0:
                return JoinStep()
            seen = self.genesis = decode_genesis(message.genesis, room=self._room, verify=self._verify)
            self._tip = genesis_tip(seen)
        for final in message.finals:
            if final.block.epoch < self._tip.epoch:
                continue  # asked twice, answered twice
            self._follow(
                final.block.height,
                KeepEpoch(final.block.epoch + 1, final.block, final.certificate, None, None),
            )
        send: tuple[bytes, ...] = ()
        if message.more:
            send = tuple(self.start())
        elif self._tip.committee.place(self._identity) is not None:
            return JoinStep(genesis=seen, admitted=self._finish(message))
        return JoinStep(send=send, genesis=seen)

    def _follow(self, height: int, kept: KeepEpoch) -> None:
        assert self._tip is not None
        committee = follow_final(self._tip, kept.final, kept.certificate, verify=self._verify)
        block_id = kept.final.id(self._room)
        if self._anchor is not None and self._anchor.height == height and self._anchor.block != block_id:
            raise InvalidBlockError(
                "this room's record is not the one the invitation vouches for: somebody rewrote it"
            )
        self._walk.append(kept)
        self._tip = Tip(
            room=self._room,
            epoch=kept.epoch,
            height=height,
            block=block_id,
            committee=committee,
            spent=(),
            leader=kept.final.leader,
            cut=(),
            frontier=Frontier(),
        )

    def _finish(self, message: Finals) -> tuple[KeepEpoch, ...]:
        """The last step must bring the state that the final block vouches for."""
        if not self._walk:
            raise InvalidBlockError("the founder of a room does not join it")
        last = self._walk[-1]
        if self._anchor is not None and self._anchor.height > 0 and not self._anchor_passed():
            raise InvalidBlockError("this room's record lacks the block the invitation vouches for")
        frontier = Frontier(last.final.log_size, message.frontier)
        tip_after_final(room=self._room, block=last.final, frontier=frontier, spent=message.spent)
        whole = KeepEpoch(last.epoch, last.final, last.certificate, message.frontier, message.spent)
        return (*self._walk[:-1], whole)

    def _anchor_passed(self) -> bool:
        assert self._anchor is not None
        return any(kept.final.id(self._room) == self._anchor.block for kept in self._walk)

    @staticmethod
    def _merge(one: JoinStep, other: JoinStep) -> JoinStep:
        return JoinStep(
            send=(*one.send, *other.send),
            genesis=one.genesis or other.genesis,
            admitted=one.admitted or other.admitted,
            refused=one.refused or other.refused,
            fault=one.fault or other.fault,
        )
