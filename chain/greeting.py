"""HELLO: how two ends of a link find out what the other lacks, and whether a restarted journal is whole."""

from chain.effects import FaultKind
from chain.fetch import Fetch
from chain.history import History
from chain.ids import MemberId
from chain.message import (
    Ack,
    Committed,
    Hello,
    Message,
    PullRange,
    Signed,
    SlotMessage,
    Standing,
    rounds_of,
    weight,
)
from chain.resync import signed_beyond, standing_of, what_peer_lacks
from chain.state import State

ALLOWANCE = 1024 * 1024
"""Bytes a second that one peer's HELLOs can make us send."""


class Greeting:
    """Sends and answers HELLOs; `fetch` and the history's own learn who claims which height."""

    def __init__(self, state: State, *, fetch: Fetch, history: History | None) -> None:
        self._state = state
        self._fetch = fetch
        self._history_fetch = history.fetch if history is not None else None
        self._told: dict[MemberId, int] = {}
        """The height in our last HELLO to each link."""
        self._asked_where: dict[MemberId, int] = {}
        self._epochs: dict[MemberId, int] = {}
        """The epoch that each link is in, by its last HELLO."""
        self._due: dict[MemberId, Hello] = {}
        """The last HELLO of each peer at our height that is still to be answered with what it lacks."""
        self._asked_to_confirm: dict[MemberId, int] = {}
        """The height at which each link was last asked for a HELLO."""
        self._not_before: dict[MemberId, float] = {}
        """When the next such answer may go: a HELLO is small, and what it asks for can be large."""
        self.observers: set[MemberId] = set()
        """Linked members that sign nothing: they ask for no other round, and may be shown too few votes."""
        self._behind = False
        """Somebody claimed a height that we had not reached."""

    # Links come and go

    def link_up(self, peer: MemberId, *, need_answer: bool) -> None:
        """Greet a new link; the other members hear that our list of links changed."""
        state = self._state
        state.out.linked.add(peer)
        state.note_links()
        self.hello(peer, reply=need_answer)
        if peer in state.out.members:
            self._tell_others(peer)

    def link_down(self, peer: MemberId) -> None:
        state = self._state
        was_member = peer in state.out.members
        state.out.linked.discard(peer)
        state.out.unsend(peer)
        state.lists.pop(peer, None)
        self.observers.discard(peer)
        for table in (
            self._told,
            self._asked_where,
            self._asked_to_confirm,
            self._epochs,
            self._due,
            self._not_before,
        ):
            table.pop(peer, None)
        self._fetch.forget(peer)
        if self._history_fetch is not None:
            self._history_fetch.forget(peer)
        state.broadcast.forget_asked(peer)
        state.ordering.forget_asked(peer)
        state.note_links()
        if was_member:
            self._tell_others(peer)

    def _tell_others(self, peer: MemberId) -> None:
        for other in sorted(self._state.out.members - {peer}):
            self.hello(other)

    # HELLO

    def hello(self, peer: MemberId, *, reply: bool = False) -> None:
        """Say where we are; ask for the same if `reply`. A former member hears of its last block only."""
        state = self._state
        self._told[peer] = state.tip.height
        if reply:
            self._asked_to_confirm[peer] = state.tip.height
        gone = state.departed.get(peer)
        if gone is not None:
            state.out.to(peer, Hello(gone.epoch, gone.height, gone.final, (), None, None, reply))
            return
        state.out.to(
            peer,
            Hello(
                epoch=state.tip.epoch,
                height=state.tip.height,
                block=state.tip.block,
                linked=tuple(sorted(state.out.members)),
                mine=None if state.journal_lost else self._standing(state.me),
                yours=self._standing(state.tip.committee.place(peer)),
                reply=reply,
            ),
        )

    def _standing(self, place: int | None) -> Standing | None:
        if place is None:
            return None
        rounds = rounds_of(self._state.ordering.votes_of(place))
        return standing_of(self._state.broadcast, place, rounds=rounds)

    def observe(self) -> None:
        """Our key signs nothing more: the others hear of it, since who observes asks for no other round."""
        for peer in sorted(self._state.out.members):
            self.hello(peer)

    def part(self, final: Committed) -> None:
        """Whom this epoch-final block removed is shown it; what it lacks below, it asks for."""
        state, height = self._state, final.block.height
        for peer in sorted(state.out.linked):
            gone = state.departed.get(peer)
            if gone is not None and gone.height == height:
                state.out.to(peer, final)
                self.hello(peer)

    def where_i_am(self, peer: MemberId) -> None:
        """Tell a peer that is behind how far we are, once a height; it then asks for what it lacks."""
        if self._told.get(peer, -1) < self._state.tip.height:
            self.hello(peer, reply=True)

    def ask_where(self, peer: MemberId) -> None:
        """A peer seems to be ahead: ask, once a height, how far it is."""
        if self._asked_where.get(peer, -1) < self._state.tip.height:
            self._asked_where[peer] = self._state.tip.height
            self.hello(peer, reply=True)

    def on_hello(self, peer: MemberId, hello: Hello) -> None:
        """Compare heights; on the same one, give what the peer lacks."""
        state, tip = self._state, self._state.tip
        place, gone = tip.committee.place(peer), state.departed.get(peer)
        self._epochs[peer] = hello.epoch
        if place is not None and hello.mine is None:
            self.observers.add(peer)
        else:
            self.observers.discard(peer)
        if place is not None:
            state.lists[peer] = frozenset(hello.linked)
            if self._history_fetch is not None:
                self._history_fetch.claim(peer, hello.height)
        if hello.height > tip.height or hello.epoch > tip.epoch:
            self._behind |= self._fetch.claim(peer, hello.height)
        elif gone is not None:
            if hello.height < gone.height:
                self.where_i_am(peer)
        elif hello.height < tip.height:
            self.where_i_am(peer)
        elif hello.block != tip.block:
            state.out.to(peer, PullRange(hello.height))  # a certificate would prove a fork
        elif place is not None:
            self._due[peer] = hello
        if hello.reply:
            self.hello(peer)

    def is_ahead(self, peer: MemberId) -> bool:
        """Whether a peer is, by its own account, in an epoch that we have not reached."""
        return self._epochs.get(peer, 0) > self._state.tip.epoch

    @property
    def level(self) -> bool:
        """Whether we have reached all that anybody claimed and could show."""
        return not self._behind

    def behind(self, still: bool) -> None:
        """Once we are no longer behind, exchange with everybody what lies above the cut, both ways."""
        if self._behind and not still:
            for peer in sorted(self._state.out.members):
                self.hello(peer, reply=True)
        self._behind = still

    def exchange(self) -> float | None:
        """Give what is due, within each peer's allowance; when to come back for what is not."""
        state, later = self._state, []
        for peer, hello in list(self._due.items()):
            allowed = self._not_before.get(peer, state.now)
            if state.now < allowed:
                later.append(allowed)
                continue
            del self._due[peer]
            place = state.tip.committee.place(peer)
            if (hello.height, hello.block) != (state.tip.height, state.tip.block):
                self.hello(peer, reply=True)  # we moved on while it waited
            elif place is not None:
                given = self._give(peer, place, hello)
                self._not_before[peer] = state.now + given / ALLOWANCE
        return min(later, default=None)

    def _give(self, peer: MemberId, place: int, hello: Hello) -> int:
        """At one height: confirm or not that a journal is whole, and send what the peer lacks; the bytes."""
        state = self._state
        has_of_mine, linked = 0, state.lists[peer]
        if state.me is not None and hello.yours is not None:
            own = state.broadcast.own
            on_path = hello.yours.seq <= own.base.seq or hello.yours.head in own.path
            has_of_mine = hello.yours.seq if on_path else own.base.seq
            # Who observes may have lost what it held of ours: it vouches for nothing.
            if hello.mine is not None and self._covers(hello.yours, on_path=on_path):
                state.confirmed.add(peer)
                state.reconsider_signing()
        messages: list[Message] = [
            *what_peer_lacks(state.broadcast, place, linked=linked, has_of_mine=has_of_mine),
            *state.ordering.votes_for_peer(but=linked | {peer}),
        ]
        if hello.mine is not None:
            messages += signed_beyond(state.broadcast, place, hello.mine)
            votes = state.ordering.votes_of(place)
            messages += [vote for vote in votes if vote.round > hello.mine.rounds.of(vote)]
        for message in messages:
            state.out.to(peer, message)
        return sum(weight(message) for message in messages)

    # Is our journal whole?

    def seek_confirmation(self) -> None:
        """After a restart: ask whoever did not confirm our journal at this height, once.

        Whoever did so at an earlier one is asked again: links come back one after the other, and what
        the first brings may complete a block.
        """
        state = self._state
        if state.me is None or not state.recovering or state.forked or self._behind:
            return
        for peer in sorted(state.out.members - state.confirmed):
            if self._asked_to_confirm.get(peer) != state.tip.height:
                self.hello(peer, reply=True)

    def _covers(self, said: Standing, *, on_path: bool) -> bool:
        """Whether our journal holds all that a peer says it has of ours.

        A claim of more does not convict us by itself: the peer sends what it has, and that does.
        """
        state = self._state
        assert state.me is not None
        return (
            on_path
            and said.seq <= state.broadcast.own.head.seq
            and said.ackseq <= state.broadcast.ackseq
            and rounds_of(state.ordering.own.all).covers(said.rounds)
        )

    def check_own(self, message: Signed) -> None:
        """A vote or ack of ours comes back: fine if we know it; if not, the journal is not whole."""
        state = self._state
        if isinstance(message, Ack):
            known = message.ackseq <= state.broadcast.ackseq
        else:
            known = state.ordering.own.knows(message)
        if not known and state.epoch.signature_holds(message):
            kind = type(message).__name__.lower()
            state.lose_journal(f"{kind} of height {state.ordering.height}, epoch {message.epoch}")

    def check_own_slot(self, message: SlotMessage, *, peer: MemberId) -> bool:
        """A slot of our lane comes back; false if it is a forgery.

        One that we do not know convicts our journal: we never forget a slot before it is ordered.
        """
        state, slot = self._state, message.slot
        own, slot_id = state.broadcast.own, slot.id(state.tip.room)
        if slot.seq <= own.base.seq or slot_id in state.broadcast.slots or state.ordering.decided:
            return True
        if not state.epoch.owner_signed(slot):
            state.out.fault(peer, FaultKind.WRONG_SIGNATURE, "a slot of ours that we did not sign")
            return False
        state.lose_journal(f"slot {slot.seq} of epoch {slot.epoch}")
        return True
