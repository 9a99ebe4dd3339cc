"""A member's place in its room: the replica, its store, and what both tell people."""

import logging
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final, assert_never

import msgspec
import trio
from nacl.signing import SigningKey

from chain.block import Body
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
    Say,
)
from chain.errors import StoreError
from chain.ids import MemberId
from chain.ledger import Tip
from chain.replica import Replica
from node.admission import Admission
from node.api import MemberView
from node.bus import Bus
from node.config import RoomConfig, make_private_directory, write_whole
from node.content import body_id, body_text, text_body
from node.disk import in_words
from node.errors import Exit, NodeError
from node.events import (
    AdmittedEvent,
    AnyEvent,
    DeliveredEvent,
    ErrorEvent,
    EvidenceEvent,
    FinalEvent,
    InviteEvent,
    LinkView,
    NoticeEvent,
    PeerEvent,
    PendingEvent,
    RemovedEvent,
    RoomEvent,
    StatusEvent,
)
from node.mesh import MAX_GUESTS, Mesh
from node.record import View
from node.runtime import Notice, Runtime
from node.shelf import Shelf
from signaling.invitation import Anchor

if TYPE_CHECKING:
    from chain.store import Store

logger = logging.getLogger(__name__)

MAX_OUTSTANDING: Final = 4096  # own messages that are not final


class Seat:
    """Made with `take`; `run` must be running for anything to happen."""

    def __init__(
        self,
        *,
        config: RoomConfig,
        identity: SigningKey,
        vote: SigningKey,
        store: "Store",
        restarted: bool,
        evidence: Path,
        mesh: Mesh,
        bus: Bus,
        inbox: tuple[trio.MemorySendChannel[Input], trio.MemoryReceiveChannel[Input]],
        faults: Counter[str],
    ) -> None:
        self.me = MemberId(bytes(identity.verify_key))
        self._config = config
        self._mesh = mesh
        self._bus = bus
        self._faults = faults
        self._evidence_directory = evidence
        self._to_inbox = inbox[0]
        self._shelf = Shelf(store)
        self._view = View(self.me)
        self._published = 0
        """Every final message below this index has been published, or was there at the start."""
        snapshot = store.snapshot()
        self._waiters: dict[bytes, trio.Event] = {}
        self._grown = trio.Event()
        self._evidence: list[EvidenceFound] = []
        self._notes: list[str] = []
        if store.rolled_back:
            # The lost part of the journal may hold signatures: whoever signs again may sign twice.
            self._note(
                "This store lost its latest changes (an old copy, or a damaged disk), so this node signs "
                "nothing more: it only reads. Come back with a new vote key."
            )
        key = None if store.rolled_back else Ed25519Signer(bytes(vote))
        self._replica = Replica(
            snapshot,
            identity=self.me,
            key=key,
            rule=store.genesis.rule,
            verify=ed25519_verify,
            now=trio.current_time(),
            restarted=restarted,
        )
        self._outstanding = _texts(self._replica.own_unordered())
        self._runtime = Runtime(
            replica=self._replica,
            shelf=self._shelf,
            mesh=mesh,
            inbox=inbox[1],
            on_notice=self._on_notice,
            on_turn=self.update_watch,
            faults=faults,
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
        self.admits = self._admission.admits

    @property
    def tip(self) -> Tip:
        return self._replica.tip

    @property
    def committee(self) -> Committee:
        return self._replica.tip.committee

    def is_member(self, peer: MemberId) -> bool:
        return self.committee.place(peer) is not None

    def nick_of(self, member: MemberId) -> str:
        """The agreed nick of a member; a few digits of the id for anybody else."""
        place = self.committee.place(member)
        return member.hex()[:8] if place is None else self.committee.members[place].nick

    # life

    async def prepare(self) -> None:
        """Read the record once, so that what was final before is not news."""
        while True:
            after, _ = await self._shelf.read(self._view, self._published)
            if after == self._published:
                return
            self._published = after

    async def run(self, heard: Sequence[Input] = ()) -> None:
        """Until cancelled; NodeError when the disk fails. `heard`: what linked peers said before."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._runtime.run, heard)
                nursery.start_soon(self._publish)
        except* StoreError as errors:
            raise in_words(errors.exceptions[0]) from errors

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
        elif not up:
            self._admission.on_gone(peer)

    def update_watch(self) -> None:
        """Hear within seconds of a peer that died, while that matters to somebody; else be silent."""
        self._mesh.watch(self._bus.subscribers > 0 or self._replica.unordered)

    # what the replica says

    def _on_notice(self, notice: Notice) -> None:
        match notice:
            case Pending(uuid=uuid):
                waiter = self._waiters.pop(uuid, None)
                if waiter is not None:
                    waiter.set()
                if uuid in self._outstanding:
                    self._bus.publish(PendingEvent(id=uuid.hex(), text=self._outstanding[uuid]))
            case Delivered(uuid=uuid, acks=acks):
                if uuid in self._outstanding:
                    self._bus.publish(DeliveredEvent(id=uuid.hex(), acks=acks))
            case Ordered() | HistoryGrew():
                self._grown.set()
            case CommitteeChanged(committee=committee, passed=passed):
                self._on_committee(committee, passed)
            case Asks():
                event = self._admission.on_asks(notice)
                if event is not None:
                    self._bus.publish(event)
            case EvidenceFound():
                self._evidence.append(notice)
                self._grown.set()
            case JournalLost(detail=detail):
                self._note(
                    f"This node signs nothing more: {detail}. Somebody holds signatures of ours that our "
                    "journal lacks, and new ones could contradict them. Come back with a new vote key."
                )
            case Forked(height=height):
                message = (
                    f"Two certified blocks of height {height} contradict each other: too many members lied."
                )
                self._notes.append(message)
                hint = "Nothing goes on in this room. The evidence is kept; start a new room without them."
                self._bus.publish(ErrorEvent(code=int(Exit.BYZANTINE), message=message, hint=hint))
            case _:
                assert_never(notice)

    def _note(self, message: str) -> None:
        logger.warning("%s", message)
        self._notes.append(message)
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
                self._bus.publish(RemovedEvent(member=who.hex(), nick=self.nick_of(who), **sizes))
            case Rekey(request=request):
                nick = self.nick_of(request.identity)
                self._bus.publish(NoticeEvent(message=f"{nick} has a new vote key."))
            case _:
                assert_never(passed)
        self._bus.publish(self.room())

    async def _publish(self) -> None:
        """Final messages in the order of their index, without a hole, and evidence, to whoever subscribes."""
        while True:
            await self._grown.wait()
            self._grown = trio.Event()
            while self._evidence:
                await self._publish_evidence(self._evidence.pop(0))
            while True:
                after, events = await self._shelf.read(self._view, self._published)
                for event in events:
                    self._settle(event)
                    self._bus.publish(event)
                if after == self._published:
                    break
                self._published = after
            self.update_watch()

    def _settle(self, event: FinalEvent) -> None:
        if event.mine:
            self._outstanding.pop(bytes.fromhex(event.id), None)

    async def _publish_evidence(self, found: EvidenceFound) -> None:
        kept = await self._shelf.evidence(found.member, found.kind)
        path = ""
        if kept is not None:
            name = f"evidence-{found.member.hex()[:12]}-{time.time_ns()}.json"
            content = {
                "v": 1,
                "room": self._config.fingerprint,
                "member": found.member.hex(),
                "kind": found.kind,
                "first": kept[0].hex(),
                "second": kept[1].hex(),
            }
            path = str(self._evidence_directory / name)
            await trio.to_thread.run_sync(_write_evidence, Path(path), msgspec.json.encode(content))
        nick = self.nick_of(found.member)
        self._bus.publish(EvidenceEvent(member=found.member.hex(), nick=nick, kind=found.kind, file=path))

    # what people ask

    async def say(self, text: str) -> str:
        """Queue a message; returns its id once it is safe on this disk."""
        body = text_body(text)
        if len(self._outstanding) >= MAX_OUTSTANDING:
            raise NodeError(
                f"{MAX_OUTSTANDING} messages wait to become final already.",
                "Wait until more members are up; `pigeon status --why` says who is missing.",
                exit_code=Exit.NO_QUORUM,
            )
        uuid = body_id(body.data)
        self._outstanding[uuid] = text
        waiter = self._waiters[uuid] = trio.Event()
        try:
            await self._to_inbox.send(Say(body))
            await waiter.wait()
        finally:
            self._waiters.pop(uuid, None)
        return uuid.hex()

    def room(self) -> RoomEvent:
        committee = self.committee
        return RoomEvent(
            room=self._config.name,
            fingerprint=self._config.fingerprint,
            me=self.me.hex(),
            nick=self.nick_of(self.me) if self.is_member(self.me) else self._config.nick,
            n=committee.n,
            f=committee.f,
            quorum=committee.quorum,
        )

    def status(self) -> StatusEvent:
        committee, linked = self.committee, self._mesh.linked()
        absent = [m.nick for m in committee.members if m.identity != self.me and m.identity not in linked]
        up = committee.n - len(absent)
        return StatusEvent(
            n=committee.n,
            f=committee.f,
            quorum=committee.quorum,
            up=up,
            height=self.tip.height,
            index=self.tip.frontier.size,
            pending=len(self._outstanding),
            waiting_for=absent if up < committee.quorum and self._replica.unordered else [],
            links=[
                LinkView(
                    member=member.identity.hex(),
                    nick=member.nick,
                    state="up" if member.identity in linked else "down",
                )
                for member in committee.members
                if member.identity != self.me
            ],
            rule=self._config.rule,
            notes=[*self._notes, *self._passing_notes(up)],
        )

    def _passing_notes(self, up: int) -> list[str]:
        committee, notes = self.committee, []
        if up < committee.quorum:
            notes.append(
                f"{up} of {committee.n} members are up; it takes {committee.quorum} to make anything final."
            )
        if self._replica.recovering:
            notes.append(
                "After the restart this node signs nothing until enough members confirmed its journal."
            )
        missing = self.tip.frontier.size - self._published
        if missing > 0:
            notes.append(f"{missing} earlier items are still being fetched.")
        if self._config.rule == "auto" and committee.n > 1:
            notes.append(
                "Whoever shows a valid invitation comes in: one member can invite puppets of its own."
            )
        return notes

    async def who(self) -> list[MemberView]:
        heights, linked = await self._shelf.admission_heights(), self._mesh.linked()
        members = []
        for member in self.committee.members:
            state = "up" if member.identity in linked else "down"
            members.append(
                MemberView(
                    member=member.identity.hex(),
                    nick=member.nick,
                    state="me" if member.identity == self.me else state,
                    admitted_at=heights.get(member.identity, 0),
                    words=self._mesh.words(member.identity),
                )
            )
        return members + self._admission.waiting()

    def admit(self, who: str) -> MemberView:
        return self._admission.admit(who)

    async def invite(self, carriers: tuple[str, ...]) -> InviteEvent:
        final = await self._shelf.latest_final(self.tip.epoch)
        anchor = None
        if final is not None:
            anchor = Anchor(height=final.block.height, id=final.block.id(self.tip.room))
        return self._admission.invite(carriers=carriers, anchor=anchor)

    @asynccontextmanager
    async def events(self, *, since: int | None) -> AsyncIterator[AsyncIterator[AnyEvent]]:
        """As NodeApi.events."""
        with self._bus.subscribe() as subscription:
            first: list[AnyEvent] = [self.room(), *self._admission.events()]
            first += [PendingEvent(id=uuid.hex(), text=text) for uuid, text in self._outstanding.items()]
            self.update_watch()
            stream = self._stream(first, since, self._published, subscription)
            try:
                yield stream
            finally:
                await stream.aclose()
        self.update_watch()

    async def _stream(
        self, first: list[AnyEvent], since: int | None, until: int, live: AsyncIterator[AnyEvent]
    ) -> AsyncGenerator[AnyEvent, None]:
        for event in first:
            yield event
        index = until if since is None else since
        while index < until:
            after, finals = await self._shelf.read(self._view, index)
            for final in finals:
                if final.index < until:
                    yield final
            if after == index:
                break
            index = after
        async for event in live:
            if since is None or not isinstance(event, FinalEvent) or event.index >= since:
                yield event


def _peer_event(peer: MemberId, nick: str, up: bool) -> PeerEvent:
    return PeerEvent(member=peer.hex(), nick=nick, state="up" if up else "down")


def _texts(bodies: Iterable[Body]) -> dict[bytes, str]:
    """The text messages among these, by id."""
    texts = {body_id(body.data): body_text(body.data) for body in bodies}
    return {uuid: text for uuid, text in texts.items() if text is not None}


def _write_evidence(path: Path, content: bytes) -> None:
    make_private_directory(path.parent)
    write_whole(path, content)
