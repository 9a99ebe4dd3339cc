"""A member's place in its room: the replica, its store, and what both tell people."""

import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

import msgspec
import trio
from nacl.signing import SigningKey

from chain import control
from chain.case import FORK, reference
from chain.committee import Committee
from chain.control import Admit, Motion, Rekey, Remove
from chain.crypto import Ed25519Signer, ed25519_verify
from chain.effects import (
    Asks,
    CommitteeChanged,
    Delivered,
    EvidenceFound,
    Forked,
    HistoryGrew,
    Input,
    JournalLost,
    Ordered,
    Pending,
)
from chain.ids import MemberId
from chain.ledger import Tip
from chain.replica import Replica
from node.acquaintance import Acquaintances
from node.admission import Admission
from node.api import MemberView
from node.attempt import Introduction
from node.bus import Bus
from node.comeback import Return
from node.config import RoomConfig
from node.errors import Exit, NodeError, NotAMember
from node.events import (
    AdmittedEvent,
    AnyEvent,
    AsksEvent,
    ErrorEvent,
    FinalEvent,
    NoticeEvent,
    PeerEvent,
    RemovalEvent,
    RemovedEvent,
    RoomEvent,
    StatusEvent,
)
from node.mesh import MAX_GUESTS, Mesh
from node.progress import Fetching
from node.removal import Removals
from node.runtime import Notice, Runtime
from node.said import Said
from node.shelf import Shelf
from node.standing import Standing
from node.succession import Predecessor
from node.teller import Teller
from signaling.invitation import Anchor, Invitation
from signaling.refusal import Reason

if TYPE_CHECKING:
    from chain.store import Store

logger = logging.getLogger(__name__)


class Seat:
    """To be prepared, then run: nothing happens without. Its store is closed by `aclose`."""

    def __init__(
        self,
        *,
        config: RoomConfig,
        identity: SigningKey,
        vote: SigningKey,
        store: "Store",
        before: Predecessor | None,
        restarted: bool,
        lost: bool,
        renew: Callable[[], SigningKey],
        evidence: Path,
        acquaintances: Acquaintances,
        mesh: Mesh,
        bus: Bus,
        inbox: tuple[trio.MemorySendChannel[Input], trio.MemoryReceiveChannel[Input]],
        on_out: Callable[[], None],
        faults: Counter[str],
    ) -> None:
        self.out: NodeError | None = None
        """Why this node ends, once it is a member no more and did not ask for that."""
        self._on_out = on_out
        self.me = MemberId(bytes(identity.verify_key))
        self._config = config
        self._mesh = mesh
        self._bus = bus
        self._faults = faults
        self._to_inbox = inbox[0]
        self._shelf = Shelf(store)
        self._teller = Teller(
            shelf=self._shelf,
            bus=bus,
            me=self.me,
            fingerprint=config.fingerprint,
            evidence=evidence,
            on_final=self._on_final,
        )
        snapshot = store.snapshot()
        self._notes: list[str] = []
        self._key_notes: list[str] = []  # until our vote key counts again
        if lost:
            self._note_of_key(
                "This store lost its latest changes (an old copy, or a damaged disk), and with them the "
                "memory of what its vote key signed: that key signs nothing more."
            )
        if store.mark_fault:
            self._note(f"The record is whole, but {store.mark_fault}; it was made anew.")
        self._replica = Replica(
            snapshot,
            identity=self.me,
            key=Ed25519Signer(bytes(vote)),
            rule=store.genesis.rule,
            verify=ed25519_verify,
            now=trio.current_time(),
            restarted=restarted,
        )
        self._said = Said(self._replica.own_unordered(), bus=bus, to_inbox=inbox[0])
        self._runtime = Runtime(
            replica=self._replica,
            shelf=self._shelf,
            mesh=mesh,
            inbox=inbox[1],
            on_notice=self._on_notice,
            on_turn=self._on_turn,
            faults=faults,
        )
        self._return = Return(
            replica=self._replica,
            identity=identity,
            vote=vote,
            room_name=config.name,
            renew=renew,
            submit=self._submit,
            note=self._note_of_key,
            on_back=self._on_back,
        )
        self._admission = Admission(
            room=store.room,
            rule=store.genesis.rule,
            identity=identity,
            max_peers=config.max_peers,
            tip=lambda: self.tip,
            words=mesh.words,
            guests_full=lambda: mesh.guests() >= MAX_GUESTS,
            submit=self._submit,
            faults=faults,
        )
        self._removals = Removals(
            me=self.me,
            tip=lambda: self.tip,
            motions=lambda: self._replica.desk.motions,
            linked=mesh.linked,
            submit=self._submit,
        )
        self._standing = Standing(
            me=self.me,
            config=config,
            replica=self._replica,
            mesh=mesh,
            teller=self._teller,
            removals=self._removals,
            predecessor=before,
        )
        self._nicks = {member.identity: member.nick for member in self.committee.members}  # past ones too
        self._acquaintances = acquaintances
        self._fetching = Fetching(self._replica, snapshot)
        self._former: set[MemberId] = set()

    async def prepare(self) -> None:
        """Read the record once; to be called before `run`."""
        await self._teller.prepare()
        if trouble := await self._acquaintances.prepare():
            self._note(trouble)
        self._acquaintances.meet(_names(self.committee))
        self._former = set(await self._shelf.admission_heights()) - set(self._nicks)

    @property
    def tip(self) -> Tip:
        return self._replica.tip

    @property
    def committee(self) -> Committee:
        return self._replica.tip.committee

    @property
    def recovering(self) -> bool:
        """Restarted, and signing nothing until enough members confirmed our journal."""
        return self._replica.recovering

    def is_member(self, peer: MemberId) -> bool:
        return self.committee.place(peer) is not None

    def nick_of(self, member: MemberId) -> str:
        """The agreed nick of a member, also of one that left while we ran; else a few digits of the id."""
        return self._nicks.get(member) or member.hex()[:8]

    def admits(self, sender: bytes, shown: Introduction | None, offer_hash: bytes) -> bool | Reason:
        """Whether to answer this offer: also a former member's, who may not know yet that it is one.

        While our vote key does not count, by a record that may lack a lot, anybody may bring what is missing.
        """
        admitted = self._admission.admits(sender, shown, offer_hash)
        if admitted is False and (MemberId(sender) in self._former or not self._return.counts):
            return self._mesh.guests() < MAX_GUESTS // 2
        return admitted

    def knows(self, peer: MemberId) -> bool:
        """Whether it may have a link and be asked for no password; all may when our record may lack a lot."""
        return self.is_member(peer) or peer in self._former or not self._return.counts

    # life

    async def run(self, heard: Sequence[Input] = ()) -> None:
        """Until cancelled; NodeError when the disk fails. `heard`: what linked peers said before."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._runtime.run, heard)
            nursery.start_soon(self._teller.run)
            nursery.start_soon(self._return.run)
            nursery.start_soon(self._acquaintances.run)

    async def aclose(self) -> None:
        """Close the store; nothing of `run` may be running any more."""
        await self._shelf.aclose()

    def _submit(self, item: Input) -> None:
        """An input of ours, from any task, without waiting."""
        try:
            self._to_inbox.send_nowait(item)
        except trio.WouldBlock:  # a full inbox: the runtime has a turn to take anyway
            self._runtime.add(item)

    def on_link(self, peer: MemberId, up: bool) -> None:
        """The mesh got a line to this peer, or lost its last."""
        if self.is_member(peer):
            self._bus.publish(_peer_event(peer, self.nick_of(peer), up))
        elif up and peer in self._former:
            self._mesh.dismiss(peer)
        elif not up:
            self._admission.on_gone(peer)

    def update_watch(self) -> None:
        """Hear within seconds of a peer that died, while that matters to somebody; else be silent."""
        self._mesh.watch(self._bus.watched or self._replica.unordered)

    def _on_turn(self) -> None:
        for event in self._removals.news():
            self._bus.publish(event)
        self._return.look()
        for progress in self._fetching.news(now=trio.current_time()):
            self._bus.publish(progress)
        self.update_watch()

    async def wait_told(self) -> None:
        """Until everything that is final here has been told."""
        final = await self._shelf.complete_through()
        while self._teller.told < final:
            await self._teller.wait_progress()

    # what the replica says

    def _on_notice(self, notice: Notice) -> None:
        match notice:
            case Pending():
                self._said.on_pending(notice)
            case Delivered():
                self._said.on_delivered(notice)
            case Ordered():
                self._teller.wake()
            case HistoryGrew():
                self._fetching.on_history(notice)
                self._teller.wake()
            case CommitteeChanged(committee=committee, passed=passed):
                self._on_committee(committee, passed)
            case Asks():
                event = self._admission.on_asks(notice)
                if event is not None:
                    for each in self._with_surprise(event):
                        self._bus.publish(each)
            case EvidenceFound():
                self._teller.add_evidence(notice, nick=self.nick_of(notice.member))
            case JournalLost(detail=detail):
                self._note_of_key(
                    f"Somebody holds what this vote key signed and this node knows nothing of ({detail}): an "
                    "old copy was put back, or the key runs elsewhere too. It signs nothing more."
                )
            case Forked(height=height):
                message = (
                    f"Two certified blocks of height {height} contradict each other: too many members lied."
                )
                self._notes.append(message)
                # It names nobody by itself; the keys that made it possible come as evidence of their own.
                self._teller.add_evidence(EvidenceFound(MemberId(bytes(32)), FORK), nick="")
                hint = "Nothing goes on in this room. The evidence is kept; start a new room without them."
                self._bus.publish(ErrorEvent(code=int(Exit.BYZANTINE), message=message, hint=hint))
            case _:
                assert_never(notice)

    def _note(self, message: str) -> None:
        logger.warning("%s", message)
        self._notes.append(message)
        self._bus.publish(NoticeEvent(message=message))

    def _note_of_key(self, message: str) -> None:
        self._key_notes.append(message)
        logger.warning("%s", message)
        self._bus.publish(NoticeEvent(message=message))

    def _on_back(self) -> None:
        self._key_notes.clear()
        message = "The members agreed to your new vote key: this node signs again."
        self._bus.publish(NoticeEvent(message=message))

    def _on_committee(self, committee: Committee, passed: Motion) -> None:
        self._admission.on_committee()
        sizes = {"n": committee.n, "f": committee.f, "quorum": committee.quorum}
        match passed:
            case Admit(request=request):
                who = request.identity
                self._bus.publish(AdmittedEvent(member=who.hex(), nick=request.nick, **sizes))
                if who in self._mesh.linked():
                    self._bus.publish(_peer_event(who, request.nick, up=True))
            case Remove(member=who):
                left = self._removals.left(who)
                self._bus.publish(RemovedEvent(member=who.hex(), nick=self.nick_of(who), left=left, **sizes))
                self._former.add(who)
                self._mesh.dismiss(who)
                if who == self.me:
                    self.go(left=left)
            case Rekey(request=request):
                if request.identity != self.me:
                    nick = self.nick_of(request.identity)
                    self._bus.publish(NoticeEvent(message=f"{nick} has a new vote key."))
            case _:
                assert_never(passed)
        self._nicks |= {member.identity: member.nick for member in committee.members}
        self._former -= {member.identity for member in committee.members}
        self._acquaintances.meet(_names(committee))
        self._bus.publish(self.room())

    def go(self, *, left: bool, why: str = "its members removed you") -> None:
        """The room goes on without us."""
        self.out = None if left else NotAMember(self._config.name, why=why)
        self._on_out()

    def _on_final(self, event: FinalEvent) -> None:
        self._said.on_final(event)
        if event.mine:
            self.update_watch()

    # what people ask

    async def say(self, text: str) -> str:
        return await self._said.say(text)

    def room(self) -> RoomEvent:
        return self._standing.room()

    def status(self) -> StatusEvent:
        notes = [*self._notes, *self._key_notes]
        return self._standing.status(pending=len(self._said), notes=notes)

    async def anchor(self) -> str:
        """The block that began this epoch, for who checks files; empty in the first epoch."""
        final = await self._shelf.latest_final(self.tip.epoch)
        if final is None:
            return ""
        return reference(self.tip.room, control.Anchor(final.block.height, final.block.id(self.tip.room)))

    async def who(self) -> list[MemberView]:
        heights = await self._shelf.admission_heights()
        return [*self._standing.members(heights), *map(self._remarked, self._admission.waiting())]

    def _remarked(self, view: MemberView) -> MemberView:
        odd = self._acquaintances.surprise(member=view.member, nick=view.nick)
        return view if odd is None else msgspec.structs.replace(view, remark=odd.message)

    def _with_surprise(self, event: AsksEvent) -> list[AnyEvent]:
        """A request, and before it what is odd about who asks."""
        odd = self._acquaintances.surprise(member=event.member, nick=event.nick)
        return [event] if odd is None else [odd, event]

    def admit(self, who: str) -> MemberView:
        return self._admission.admit(who)

    def remove(self, who: str) -> RemovalEvent:
        return self._removals.remove(who)

    def leave(self) -> RemovalEvent:
        return self._removals.leave()

    async def invite(self, carriers: Sequence[str]) -> Invitation:
        """For one newcomer; `carriers`: where it may find us."""
        final = await self._shelf.latest_final(self.tip.epoch)
        anchor = None
        if final is not None:
            anchor = Anchor(height=final.block.height, id=final.block.id(self.tip.room))
        return self._admission.invite(carriers=carriers, anchor=anchor)

    @asynccontextmanager
    async def events(
        self, *, since: int | None, watching: bool, more: Sequence[AnyEvent] = ()
    ) -> AsyncIterator[AsyncIterator[AnyEvent]]:
        """As NodeApi.events; `more` comes with what a subscriber is told first."""
        with self._bus.subscribe(watching=watching) as subscription:
            first: list[AnyEvent] = [self.room()]
            # Some of these were noted before anybody could listen.
            first += [NoticeEvent(message=note) for note in (*self._notes, *self._key_notes)]
            first += self._acquaintances.told
            first += [each for asks in self._admission.events() for each in self._with_surprise(asks)]
            first += self._removals.events()
            first += [*self._said.events(), *more]
            self.update_watch()
            stream = self._teller.stream(first, since=since, live=subscription)
            try:
                yield stream
            finally:
                await stream.aclose()
        self.update_watch()


def _names(committee: Committee) -> list[tuple[str, str]]:
    return [(member.identity.hex(), member.nick) for member in committee.members]


def _peer_event(peer: MemberId, nick: str, up: bool) -> PeerEvent:
    return PeerEvent(member=peer.hex(), nick=nick, state="up" if up else "down")
