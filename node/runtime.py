"""The one task that owns the replica and writes the store: inputs in, one step a turn, effects out.

What is to be kept is on disk before anything after it is sent or shown. A peer's bytes never end this
task; our own errors do, and with it the node.
"""

import logging
import math
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Final, assert_never

import trio

from chain.effects import (
    Asks,
    CommitteeChanged,
    Delivered,
    Effect,
    EvidenceFound,
    Fault,
    Forked,
    HistoryGrew,
    Input,
    JournalLost,
    LinkUp,
    Ordered,
    Pending,
    Persist,
    RoundTrip,
    Send,
    Serve,
    ServeFinals,
    SetTimer,
)
from chain.ids import MemberId
from chain.replica import Replica
from node.mesh import Mesh
from node.shelf import Shelf

logger = logging.getLogger(__name__)

MAX_INPUTS: Final = 512  # of one turn
_LOGGED_FAULTS: Final = 256
_LEAST_PAUSE: Final = 0.001  # seconds

Notice = (
    Pending
    | Delivered
    | Ordered
    | HistoryGrew
    | CommitteeChanged
    | Asks
    | EvidenceFound
    | JournalLost
    | Forked
)
"""What concerns people."""


class Runtime:
    """Runs one replica. `on_notice` and, after each turn, `on_turn` are called in this task, in order."""

    def __init__(
        self,
        *,
        replica: Replica,
        shelf: Shelf,
        mesh: Mesh,
        inbox: trio.MemoryReceiveChannel[Input],
        on_notice: Callable[[Notice], None],
        on_turn: Callable[[], None],
        faults: Counter[str],
    ) -> None:
        self.replica = replica
        self._shelf = shelf
        self._mesh = mesh
        self._inbox = inbox
        self._on_notice = on_notice
        self._on_turn = on_turn
        self._faults = faults
        self._own: deque[Input] = deque()
        self._timer: float | None = None
        self._turned = -math.inf
        self._round_trip = 0.0

    def add(self, item: Input) -> None:
        """Have this taken with the next turn; does not wake a runtime that waits for its inbox."""
        self._own.append(item)

    async def run(self, heard: Sequence[Input] = ()) -> None:
        """Step until the inbox is closed; first every peer linked now, and what was heard from them."""
        self._own.extend(LinkUp(peer) for peer in sorted(self._mesh.linked()))
        self._own.extend(heard)
        await self._turn([])  # what a restart has to say
        while True:
            inputs = await self._gather()
            if inputs is None:
                return
            await self._turn(inputs)

    async def _gather(self) -> list[Input] | None:
        """Everything there is, after waiting for something or for the timer; None at the end of the inbox."""
        inputs: list[Input] = []
        if not self._own:
            try:
                with trio.move_on_at(self._wake_at()):
                    inputs.append(await self._inbox.receive())
            except trio.EndOfChannel:
                return None
        else:
            await trio.lowlevel.checkpoint()
        inputs.extend(self._own)
        self._own.clear()
        while len(inputs) < MAX_INPUTS:
            try:
                inputs.append(self._inbox.receive_nowait())
            except (trio.WouldBlock, trio.EndOfChannel):
                break
        return inputs

    def _wake_at(self) -> float:
        """The timer; a little later when it lies in the past, so that nothing can make this loop spin."""
        return math.inf if self._timer is None else max(self._timer, self._turned + _LEAST_PAUSE)

    async def _turn(self, inputs: list[Input]) -> None:
        self._measure(inputs)
        effects = self.replica.step(inputs, now=trio.current_time(), clock_ms=time.time_ns() // 1_000_000)
        for effect in effects:
            await self._carry_out(effect)
        self._turned = trio.current_time()
        self._on_turn()

    async def _carry_out(self, effect: Effect) -> None:
        match effect:
            case Persist(records=records):
                await self._shelf.keep(records)
            case Send(peer=peer, data=data):
                self._mesh.send(peer, data)
            case Serve(peer=peer, height=height, last=last):
                if self._mesh.may_serve(peer):
                    self._mesh.serve(peer, await self._shelf.blocks(height, last=last))
            case ServeFinals(peer=peer, epoch=epoch):
                if self._mesh.may_serve(peer):
                    self._mesh.serve(peer, await self._shelf.finals(epoch))
            case SetTimer(at=at):
                self._timer = at
            case Fault(peer=peer, kind=kind, detail=detail):
                self._note_fault(peer, f"peer: {kind.value}", detail)
            case (
                Pending()
                | Delivered()
                | Ordered()
                | HistoryGrew()
                | CommitteeChanged()
                | Asks()
                | EvidenceFound()
                | JournalLost()
                | Forked()
            ):
                self._on_notice(effect)
            case _:
                assert_never(effect)

    def _note_fault(self, peer: MemberId, kind: str, detail: str) -> None:
        self._faults[kind] += 1
        if self._faults[kind] <= _LOGGED_FAULTS:  # a flood must not fill the disk with complaints
            logger.warning("%s: %s: %s", peer.hex()[:8], kind, detail)

    def _measure(self, inputs: list[Input]) -> None:
        """Tell the replica of slower or faster links; only where it would change how long it waits."""
        round_trips = sorted(self._mesh.round_trips())
        if not round_trips:
            return
        p95 = round_trips[math.ceil(0.95 * len(round_trips)) - 1]
        changed = not 0.8 <= p95 / max(self._round_trip, 1e-6) <= 1.25
        if changed and max(p95, self._round_trip) > 0.1:
            self._round_trip = p95
            inputs.append(RoundTrip(p95))
