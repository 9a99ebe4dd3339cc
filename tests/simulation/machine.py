"""The machines of a simulated room and the links between them: state only, the world moves it."""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from chain.control import Genesis
from chain.effects import Effect, EvidenceFound, Fault, Input
from chain.ids import MemberId
from chain.records import Record
from chain.replica import Replica
from chain.store import Store
from tests.simulation.keys import Scheme
from tests.simulation.network import Event, Lane, Latency
from tests.simulation.room import Seat
from tests.simulation.signatures import LoggedSigner

Filter = Callable[[bytes], bytes | None]
"""What a liar's own machine does to an envelope on its way in: change it or drop it."""
Rewrite = Callable[["Node", bytes], Iterable[bytes]]
"""What leaves a liar's machine in place of an envelope for somebody: nothing, another one, or several."""


class Core(Protocol):
    """What runs on a machine: a replica, or a newcomer that is not a member yet."""

    def step(self, inputs: Sequence[Input], *, now: float, clock_ms: int) -> list[Effect]: ...


class Node:
    """One machine: a store that outlives crashes, and a replica while it runs."""

    def __init__(self, name: str, seat: Seat, *, genesis: Genesis, scheme: Scheme, honest: bool) -> None:
        self.name = name
        self.seat = seat
        self.honest = honest
        self.key = LoggedSigner(seat.vote)
        self.store = Store.create(":memory:", genesis=genesis, me=seat.id, verify=scheme.verify)
        self.replica: Core | None = None
        self.inbox: list[Input] = []
        self.links: dict[MemberId, Link] = {}
        """By peer, as this end believes them to be."""
        self.filter: Filter | None = None
        self.withhold: Callable[[Node, bytes], bool] | None = None
        """For liars: whether to keep an envelope from somebody, without its own replica knowing."""
        self.rewrite: Rewrite | None = None
        self.crash_next: float | None = None
        """Where in its next step to crash: 0 before all effects, 1 after them."""
        self.crash_at: tuple[int, int] | None = None
        """After so many more steps, before the effect of this index of the next one."""
        self.timer: Event | None = None
        self.timer_at = 0.0
        self.skew = 0.0
        self.rate = 1.0
        """Seconds that its own clock counts in a second; set while it is down."""
        self.clock_error_ms = 0
        self.transactions: list[tuple[Record, ...]] = []
        """All that its disk was given since the room was made: what an older copy of it would hold."""
        self.amnesiac = False
        """Its disk went back in time: its member counts among the faulty ones."""
        self.accountable = True
        """Whether it must not sign twice for one position, whatever happened to it."""
        self.acks_of: dict[bytes, int] = {}
        self.faults: list[Fault] = []
        self.evidence: list[EvidenceFound] = []
        self.journal_lost = False
        self.forks: list[int] = []
        """Heights at which it was shown a second certified block."""

    @property
    def id(self) -> MemberId:
        return self.seat.id

    @property
    def running(self) -> Replica:
        assert isinstance(self.replica, Replica), f"{self.name} is down, or no member yet"
        return self.replica

    def __repr__(self) -> str:
        return self.name


class Link:
    """Two directions between two machines, and what each end has been told of them."""

    def __init__(self, one: Node, other: Node, *, latency: Latency, in_order: bool) -> None:
        self.ends = (one, other)
        self.lanes = {end: Lane(latency, in_order=in_order) for end in self.ends}
        self.up = False
        self.openings = 0
        self.notices: dict[Node, Event] = {}

    def other(self, end: Node) -> Node:
        return self.ends[1] if end is self.ends[0] else self.ends[0]
