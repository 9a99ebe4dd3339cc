"""What one replica may hold, whatever is thrown at it; measured inside it while a story runs."""

from chain.broadcast import CUTS_REMEMBERED, Broadcast
from chain.desk import MAX_GUESTS
from chain.early import BYTES_PER_MEMBER, BYTES_PER_STRANGER
from chain.lane import HEADS_PER_ACKER, WINDOW
from chain.ordering import KNOWN_BLOCKS, Ordering
from chain.parking import PARKED_BYTES_PER_OWNER
from chain.replica import Replica
from tests.simulation.machine import Node
from tests.simulation.signatures import Violation

LOOK_EVERY = 16
"""Steps of one node between two looks: a look costs about as much as a step."""


class Gauge:
    """Looks into every replica now and then, and remembers the most it saw of everything."""

    def __init__(self) -> None:
        self.most: dict[str, int] = {}
        self._steps: dict[str, int] = {}

    def after_step(self, node: Node) -> None:
        self._steps[node.name] = steps = self._steps.get(node.name, 0) + 1
        if steps % LOOK_EVERY == 0 and isinstance(node.replica, Replica):
            self.look(node.replica)

    def look(self, replica: Replica) -> None:
        """Raises Violation for the first thing that is more than it may be."""
        n = replica.tip.committee.n
        self._broadcast(replica.state.broadcast, n)
        self._ordering(replica.state.ordering, n)
        for peer, kept in replica._intake._early._kept.items():
            limit = BYTES_PER_MEMBER if peer in replica.out.members else BYTES_PER_STRANGER
            self._hold("early bytes", sum(size for *_, size, _ in kept), max(limit, BYTES_PER_MEMBER))
        self._hold("guests", len(replica.desk.guests), MAX_GUESTS)
        self._hold("lists of links", len(replica.state.lists), len(replica.linked))
        self._hold("unsent envelopes", len(replica.out._messages), 0)

    def _broadcast(self, broadcast: Broadcast, n: int) -> None:
        for lane in broadcast.lanes:
            self._hold("places held", len(lane.held_at), 2 * WINDOW)
            self._hold("places seen", len(lane.first_seen), 2 * WINDOW)
            self._hold("ackers", len(lane.acks), n)
            self._hold("heads of an acker", max(map(len, lane.acks.values()), default=0), HEADS_PER_ACKER)
            self._hold("heads in cuts", len(lane.in_cuts), CUTS_REMEMBERED)
            # One branch we ack, and those that some acker or cut names, each 2 W long at most.
            branches = max(map(len, lane.held_at.values()), default=0)
            self._hold("branches", branches, 2 + n * HEADS_PER_ACKER + CUTS_REMEMBERED)
        held = sum(len(ids) for lane in broadcast.lanes for ids in lane.held_at.values())
        self._hold("slots that stand at no place", len(broadcast.slots) - held, 0)
        parked = max(broadcast._parking._bytes.values(), default=0)
        self._hold("parked bytes", parked, PARKED_BYTES_PER_OWNER)

    def _ordering(self, ordering: Ordering, n: int) -> None:
        box = ordering.box
        self._hold("blocks", len(ordering._blocks), KNOWN_BLOCKS)
        self._hold("round-changes", len(box.round_changes), n)
        for votes in (box.prevotes, box.precommits):
            ahead = [vote for round_ in votes if round_ > box.round for vote in votes[round_].values()]
            self._hold("votes ahead", len(ahead), n)
        self._hold("rounds of proposals", sum(round_ > box.round for round_ in box.proposals), n)

    def _hold(self, what: str, held: int, limit: int) -> None:
        self.most[what] = max(self.most.get(what, 0), held)
        if held > limit:
            raise Violation(f"holds {held} {what}; {limit} are the most it may")
