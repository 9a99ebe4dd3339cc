"""What members sign and send, sorted: too early, too late, our own come back, or news to be passed on."""

from chain.early import Early
from chain.effects import FaultKind
from chain.fetch import Fetch
from chain.greeting import Greeting
from chain.history import History
from chain.ids import MemberId
from chain.message import (
    Ack,
    Message,
    Propose,
    RoundChange,
    Signed,
    SlotCertificate,
    SlotMessage,
    weight,
)
from chain.state import State


class Intake:
    """Slots, acks and votes on their way to broadcast and ordering."""

    def __init__(self, state: State, *, greeting: Greeting, fetch: Fetch, history: History | None) -> None:
        self._state = state
        self._greeting = greeting
        self._fetch = fetch
        self._history = history
        self._early = Early()

    def link_lost(self, peer: MemberId) -> None:
        self._early.forget(peer)

    def due(self) -> list[tuple[MemberId, Message]]:
        """What came too early and is not any more, with who sent it; to be looked at again."""
        tip = self._state.tip
        return self._early.take_due(epoch=tip.epoch, height=tip.height + 1)

    def on_slot(self, peer: MemberId, message: SlotMessage) -> None:
        slot, state = message.slot, self._state
        if slot.epoch > state.tip.epoch:
            self._keep_early(peer, message, epoch=slot.epoch, height=0)
            return
        if self._history is not None:
            self._history.on_slot(message, peer=peer, now=state.now)
        if slot.epoch < state.tip.epoch:
            return
        if slot.lane == state.me and not self._greeting.check_own_slot(message, peer=peer):
            return
        awaited = state.ordering.awaits(slot)
        if state.broadcast.on_slot(message, peer=peer, awaited=awaited):
            if awaited:
                self._fetch.heard(peer, weight(message), now=state.now)
            self._relay(message, slot.lane, source=peer)

    def on_signed(self, peer: MemberId, message: Signed) -> None:
        state, tip = self._state, self._state.tip
        height = tip.height + 1 if isinstance(message, Ack) else message.height
        if message.epoch > tip.epoch or height > tip.height + 1:
            at = 0 if isinstance(message, Ack) else message.height
            self._keep_early(peer, message, epoch=message.epoch, height=at)
            return
        if message.epoch < tip.epoch or height <= tip.height:
            if isinstance(message, Propose | RoundChange) or message.epoch < tip.epoch:
                self._greeting.where_i_am(peer)
            return
        if peer not in state.out.members:
            state.out.fault(peer, FaultKind.STRANGER, type(message).__name__)
            return
        if message.signer == state.me:
            self._greeting.check_own(message)
            return
        if isinstance(message, Ack):
            news = state.broadcast.on_ack(message, peer=peer)
        else:
            news = state.ordering.on_vote(message, peer=peer, now=state.now)
        if news:
            self._relay(message, message.signer, source=peer)

    def on_certificate(self, peer: MemberId, message: SlotCertificate) -> None:
        state = self._state
        if message.epoch > state.tip.epoch:
            self._keep_early(peer, message, epoch=message.epoch, height=0)
        elif message.epoch < state.tip.epoch:
            self._greeting.where_i_am(peer)
        elif peer not in state.out.members:
            state.out.fault(peer, FaultKind.STRANGER, type(message).__name__)
        else:
            state.broadcast.on_certificate(message, peer=peer)
            for ack in message.acks:
                self.on_signed(peer, ack)

    def _keep_early(self, peer: MemberId, message: Message, *, epoch: int, height: int) -> None:
        """Of a later height or epoch: its sender is ahead of us; looked at again once we are there."""
        is_member = peer in self._state.out.members
        self._early.keep(peer, message, epoch=epoch, height=height, is_member=is_member)
        # An epoch does not end while we are at work in it: the sender may have to show us how it ended.
        if epoch > self._state.tip.epoch:
            self._greeting.ask_where(peer)

    def _relay(self, message: Message, signer: int, *, source: MemberId) -> None:
        """Forward to linked members that are not linked to the signer themselves."""
        state = self._state
        author = state.epoch.identity(signer)
        for peer in sorted(state.out.members - {author, source}):
            listed = state.lists.get(peer)
            if listed is not None and author not in listed:
                state.out.to(peer, message)
