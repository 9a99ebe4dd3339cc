"""A simulated room whose members run the real Admission: newcomers, crashes and links under virtual time."""

from collections import Counter

from nacl.signing import SigningKey

from chain.control import AdmissionRule, Request
from chain.effects import Asks, CommitteeChanged, Effect, Input, LinkDown, LinkUp
from chain.replica import Replica
from node.admission import Admission
from tests.simulation.keys import ED25519
from tests.simulation.machine import Node
from tests.simulation.network import fixed
from tests.simulation.newcomer import Guest
from tests.simulation.room import make_room, make_seat
from tests.simulation.test_membership_restarts import invited
from tests.simulation.world import World


class Porch(World):
    """A room of n under the `auto` rule and at most one newcomer, which reaches some members only."""

    def __init__(self, n: int) -> None:
        room = make_room(n, ED25519, AdmissionRule.AUTO)
        super().__init__(n, scheme=ED25519, latency=fixed(1 / 16), room=room)
        self.admissions: dict[Node, Admission] = {}
        self.guest: Node | None = None
        self._request: Request | None = None
        self._reached: list[Node] = []
        self.on_asks = self._asked
        self.may_link = self._reaches
        self.populate()

    # The newcomer

    def knock(self, reached: list[Node]) -> Node:
        """A newcomer invited by the first of these members, linked to all of them."""
        seat = make_seat(self.scheme, "dee")
        self._reached = reached
        self._request = invited(self, seat, reached[0])
        self.guest = self.add(seat.nick, seat)
        self._come_in(self.guest)
        return self.guest

    def _come_in(self, guest: Node) -> None:
        """Its process starts: as a member, if that is what its store says."""
        assert self._request is not None
        if guest.store.snapshot().tip.committee.place(guest.id) is not None:
            self.start(guest)
        else:
            guest.replica = Guest(self._request, room=self.room.id, anchor=None, verify=self.scheme.verify)
        self.relink()

    def _reaches(self, one: Node, other: Node) -> bool:
        return all(
            not isinstance(guest.replica, Guest) or member in self._reached
            for guest, member in ((one, other), (other, one))
        )

    def restart(self, node: Node) -> None:
        if node is self.guest and node.replica is None:
            self._come_in(node)
        else:
            super().restart(node)

    def live(self) -> None:
        """Let time pass until nothing is left to happen; who was admitted goes on as a member."""
        self.run()
        while (
            self.guest is not None and isinstance(self.guest.replica, Guest) and self.guest.replica.admitted
        ):
            peers = list(self.guest.links)
            self.guest.replica = None
            self.start(self.guest, restarted=False)
            self.give(self.guest, *(LinkUp(peer) for peer in peers))
            self.relink()
            self.run()

    # Each member's Admission, as its seat uses it

    def start(self, node: Node, *, restarted: bool = True) -> None:
        super().start(node, restarted=restarted)
        replica = node.running

        def submit(item: Input) -> None:
            if node.replica is replica:
                self.give(node, item)

        self.admissions[node] = Admission(
            room=self.room.id,
            rule=AdmissionRule.AUTO,
            identity=SigningKey(bytes(32)),
            max_peers=16,
            tip=lambda: replica.tip,
            words=lambda who: "four safety words here" if who in node.links else "",
            guests_full=lambda: False,
            submit=submit,
            faults=Counter(),
        )

    def _asked(self, node: Node, asks: Asks) -> None:
        self.admissions[node].on_asks(asks)

    def _perform(self, node: Node, effect: Effect) -> None:
        super()._perform(node, effect)
        if isinstance(effect, CommitteeChanged) and node in self.admissions:
            self.admissions[node].on_committee()

    def give(self, node: Node, *inputs: Input) -> None:
        """The mesh tells a seat that a link is gone before its replica hears of it."""
        if isinstance(node.replica, Replica):
            committee = node.running.tip.committee
            for item in inputs:
                if isinstance(item, LinkDown) and committee.place(item.peer) is None:
                    self.admissions[node].on_gone(item.peer)
        super().give(node, *inputs)

    # The end of it

    def stuck(self) -> str:
        """Why this room is not one of n + 1 members that all sign; empty if it is."""
        heights = []
        for node in self.nodes:
            if not isinstance(node.replica, Replica):
                return f"{node} waits outside"
            if not node.running.signing:
                return f"{node} signs nothing"
            heights.append((node.running.tip.height, node.running.tip.committee.n))
        return "" if set(heights) == {(heights[0][0], len(self.nodes))} else f"they are at {heights}"
