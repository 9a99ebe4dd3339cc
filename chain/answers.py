"""What a replica answers when somebody asks: slots, blocks that are voted on, committed ones, final ones.

Members get everything; who is no member any more what it was one for; a stranger the walk of epochs.
"""

from typing import assert_never

from chain.effects import FaultKind, Serve, ServeFinals
from chain.greeting import Greeting
from chain.ids import MemberId
from chain.message import PullBlock, PullFinals, PullRange, PullSlot, SlotMessage, weight
from chain.state import State

PULL_ANSWER = 256 * 1024
FINALS_PER_LINK = 256

Question = PullSlot | PullBlock | PullRange | PullFinals


class Answers:
    """Answers to linked peers, each bounded."""

    def __init__(self, state: State, *, greeting: Greeting) -> None:
        self._state = state
        self._greeting = greeting
        self._finals_served: dict[MemberId, int] = {}

    def link_lost(self, peer: MemberId) -> None:
        self._finals_served.pop(peer, None)

    def give(self, peer: MemberId, question: Question) -> None:
        """Answer a linked peer, as far as it may know."""
        state = self._state
        if isinstance(question, PullFinals):
            self._give_finals(peer, question.epoch)
        elif peer in state.out.members:
            self._give_member(peer, question)
        elif peer in state.departed:
            self._give_departed(peer, question)
        elif not self._greeting.is_ahead(peer):  # who is may be a member by now
            state.out.fault(peer, FaultKind.STRANGER, type(question).__name__)

    def _give_finals(self, peer: MemberId, epoch: int) -> None:
        served = self._finals_served.get(peer, 0)
        if served < FINALS_PER_LINK and epoch <= self._state.tip.epoch:
            self._finals_served[peer] = served + 1
            self._state.out.tell(ServeFinals(peer, epoch))

    def _give_departed(self, peer: MemberId, question: PullSlot | PullBlock | PullRange) -> None:
        """Somebody that is no member any more, and may not know it, gets what it was a member for."""
        match question:
            case PullRange(height):
                last = self._state.departed[peer].height
                if 1 <= height <= last:
                    self._state.out.tell(Serve(peer, height, last))
            case PullSlot() | PullBlock():
                self._greeting.where_i_am(peer)
            case _:
                assert_never(question)

    def _give_member(self, peer: MemberId, question: PullSlot | PullBlock | PullRange) -> None:
        state = self._state
        match question:
            case PullSlot():
                self._give_slots(peer, question)
            case PullBlock(height, block_id):
                if height != state.ordering.height:
                    self._greeting.where_i_am(peer)
                elif (answer := state.ordering.block_message(block_id)) is not None:
                    state.out.to(peer, answer)
            case PullRange(height):
                if 1 <= height <= state.tip.height:
                    state.out.tell(Serve(peer, height))
            case _:
                assert_never(question)

    def _give_slots(self, peer: MemberId, pull: PullSlot) -> None:
        state, broadcast = self._state, self._state.broadcast
        if pull.epoch > state.tip.epoch or pull.lane >= state.tip.committee.n:
            return
        if pull.epoch < state.tip.epoch or pull.head.seq <= broadcast.lanes[pull.lane].base.seq:
            self._greeting.where_i_am(peer)
            return
        # The end of the branch: what is left out below is named by it, and so pulled next.
        answer: list[SlotMessage] = []
        size = 0
        for kept in reversed(broadcast.branch(pull.lane, have=pull.have, head=pull.head)):
            answer.append(SlotMessage(kept.slot, kept.bodies))
            size += weight(answer[-1])
            if size > PULL_ANSWER:
                break
        for message in reversed(answer):
            state.out.to(peer, message)
