"""The links of a simulated world: who is linked to whom, what is under way, and who has noticed what."""

import random
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial

from chain.effects import Arrived, Input, LinkDown, LinkUp
from tests.simulation.machine import Link, Node
from tests.simulation.network import Calendar, Latency, fixed


class Wires(ABC):
    """All machines of a world and the links between them; the world gives the machines what comes out."""

    def __init__(self, dice: random.Random, *, latency: Latency, in_order: bool) -> None:
        self.dice = dice
        self.calendar = Calendar()
        self.latency = latency
        self.in_order = in_order
        self.nodes: list[Node] = []
        self.blocked: set[frozenset[Node]] = set()
        """Pairs that cannot link for now."""
        self.may_link: Callable[[Node, Node], bool] = lambda one, other: True
        self.notice: Latency = fixed(0)
        """How long an end takes to notice that its link is gone."""
        self.sift: Callable[[Link, Node, bytes], bytes | None] | None = None
        """What the network lets pass of an envelope that leaves this end; it may keep the rest for later."""
        self.envelopes = self.bytes = self.cuts = 0
        self._links: dict[frozenset[Node], Link] = {}

    @abstractmethod
    def give(self, node: Node, *inputs: Input) -> None:
        """Inputs for the node's next step, which comes at this very instant."""

    # Links come and go

    def relink(self) -> None:
        """Open every link that may be and is not, cut every one that may not be and is."""
        for index, one in enumerate(self.nodes):
            for other in self.nodes[index + 1 :]:
                link = self._links.get(frozenset((one, other)))
                wanted = self._linkable(one, other)
                if wanted and (link is None or not link.up):
                    self._connect(one, other)
                elif link is not None and link.up and not wanted:
                    self.cut(one, other)

    def _linkable(self, one: Node, other: Node) -> bool:
        return (
            one.replica is not None
            and other.replica is not None
            and one.id != other.id
            and frozenset((one, other)) not in self.blocked
            and self.may_link(one, other)
        )

    def _connect(self, one: Node, other: Node) -> None:
        pair = frozenset((one, other))
        link = self._links.get(pair)
        if link is None:
            link = Link(one, other, latency=self.latency, in_order=self.in_order)
            self._links[pair] = link
        link.up = True
        link.openings += 1
        for end in link.ends:
            if notice := link.notices.pop(end, None):
                notice.alive = False
            peer = link.other(end).id
            former = end.links.get(peer)
            if former is not None and former is not link and (notice := former.notices.pop(end, None)):
                notice.alive = False
            end.links[peer] = link
            self.give(end, LinkUp(peer))

    def slow(self, source: Node, target: Node, latency: Latency) -> None:
        """From now on what `source` sends to `target` takes this long."""
        self._links[frozenset((source, target))].lanes[source].latency = latency

    def cut(self, one: Node, other: Node) -> None:
        """Lose the link and all that is under way on it; each end notices in its own time."""
        link = self._links.get(frozenset((one, other)))
        if link is None or not link.up:
            return
        self.cuts += 1
        self._drop(link)

    def _drop(self, link: Link) -> None:
        link.up = False
        for lane in link.lanes.values():
            lane.lose_everything()
        for end in link.ends:
            if end.replica is not None:
                at = self.calendar.now + self.notice(self.dice)
                link.notices[end] = self.calendar.schedule(at, partial(self._notice, link, end))

    def _notice(self, link: Link, end: Node) -> None:
        link.notices.pop(end, None)
        peer = link.other(end).id
        if end.replica is not None and end.links.get(peer) is link:
            del end.links[peer]
            self.give(end, LinkDown(peer))

    # What is under way

    def transmit(self, node: Node, target: Node, data: bytes) -> None:
        """This envelope leaves a machine, whoever made it; lost if their link is down."""
        self.envelopes += 1
        self.bytes += len(data)
        link = self._links[frozenset((node, target))]
        if not link.up:
            return
        passing = data if self.sift is None else self.sift(link, node, data)
        if passing is not None:
            self.carry(link, node, passing)

    def carry(self, link: Link, source: Node, data: bytes) -> None:
        """It is under way now."""
        target = link.other(source)
        link.lanes[source].carry(self.calendar, self.dice, lambda: self._arrive(source, target, data))

    def _arrive(self, source: Node, target: Node, data: bytes) -> None:
        kept = target.filter(data) if target.filter else data
        if kept is not None and target.replica is not None:
            self.give(target, Arrived(source.id, kept))
