"""Somebody who wants in: walks the epochs over its links, asks, and becomes a member by the real path."""

from collections.abc import Sequence

from chain.control import Anchor, Request
from chain.crypto import Verifier
from chain.effects import Arrived, Effect, Input, LinkDown, LinkUp, Persist, Send
from chain.ids import MemberId, RoomId
from chain.joiner import Joiner
from chain.message import JoinRequest, Message, pack, unpack
from tests.simulation.machine import Core, Node
from tests.simulation.room import Seat
from tests.simulation.signatures import Violation
from tests.simulation.world import World


class Guest:
    """Runs in place of a replica until the room's committee holds its member."""

    def __init__(self, request: Request, *, room: RoomId, anchor: Anchor | None, verify: Verifier) -> None:
        self._request = request
        self._room = room
        self._anchor = anchor
        self._verify = verify
        self._joiners: dict[MemberId, Joiner] = {}
        self.admitted = False

    def step(self, inputs: Sequence[Input], *, now: float, clock_ms: int) -> list[Effect]:
        del now, clock_ms
        effects: list[Effect] = []
        for given in inputs:
            match given:
                case LinkUp(peer=peer):
                    joiner = Joiner(
                        room=self._room,
                        identity=self._request.identity,
                        anchor=self._anchor,
                        verify=self._verify,
                    )
                    self._joiners[peer] = joiner
                    sends = [*joiner.start(), *pack([JoinRequest(self._request)])]
                    effects += [Send(peer, data) for data in sends]
                case LinkDown(peer=peer):
                    self._joiners.pop(peer, None)
                case Arrived(peer=peer, data=data) if peer in self._joiners and not self.admitted:
                    effects += self._receive(peer, data)
                case _:
                    pass
        return effects

    def _receive(self, peer: MemberId, data: bytes) -> list[Effect]:
        told = self._joiners[peer].receive(data)
        if told.refused is not None and "no member of the room any more" in told.refused:
            return []  # its sponsor, or who invited it, was removed meanwhile
        if told.refused is not None or told.fault is not None:
            raise Violation(f"a newcomer hears {told.refused or told.fault}")
        effects: list[Effect] = []
        if told.admitted is not None:
            self.admitted = True
            effects.append(Persist(told.admitted))
        return [*effects, *(Send(peer, envelope) for envelope in told.send)]


class Stranger:
    """Somebody with a link who says what a test makes it say, and notes what it hears."""

    def __init__(self) -> None:
        self.heard: list[Message] = []

    def step(self, inputs: Sequence[Input], *, now: float, clock_ms: int) -> list[Effect]:
        del now, clock_ms
        for given in inputs:
            if isinstance(given, Arrived):
                self.heard += unpack(given.data)
        return []


class Door:
    """Lets newcomers ask at one member each, and makes members of those that were admitted."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._sponsors: dict[Node, Node] = {}
        world.may_link = self._may_link

    def _may_link(self, one: Node, other: Node) -> bool:
        """A guest is linked to its sponsor only: the others do not know it yet."""
        return all(
            self._sponsors.get(guest, member) is member for guest, member in ((one, other), (other, one))
        )

    def knock(self, seat: Seat, request: Request, *, sponsor: Node, anchor: Anchor | None = None) -> Node:
        """A newcomer's machine, linked to its sponsor and asking."""
        return self.knock_again(self._world.add(seat.nick, seat), request, sponsor=sponsor, anchor=anchor)

    def knock_again(
        self, node: Node, request: Request, *, sponsor: Node, anchor: Anchor | None = None
    ) -> Node:
        """A machine that stopped being a member's asks, with the store it has."""
        guest = Guest(request, room=self._world.room.id, anchor=anchor, verify=self._world.scheme.verify)
        return self._let_link(node, guest, sponsor)

    def stranger(self, seat: Seat, *, sponsor: Node) -> Node:
        """A machine that lies, linked to one member."""
        return self._let_link(self._world.add(seat.nick, seat, honest=False), Stranger(), sponsor)

    def _let_link(self, node: Node, core: Core, sponsor: Node) -> Node:
        node.replica = core
        self._sponsors[node] = sponsor
        self._world.relink()
        return node

    def open(self) -> int:
        """Whoever was admitted goes on as a member, linked to all; how many there were."""
        admitted = [
            node for node in self._sponsors if isinstance(node.replica, Guest) and node.replica.admitted
        ]
        for node in admitted:
            del self._sponsors[node]
            peers = list(node.links)
            node.replica = None
            self._world.start(node, restarted=False)
            self._world.give(node, *(LinkUp(peer) for peer in peers))
        self._world.relink()
        return len(admitted)

    def run(self) -> None:
        """Let time pass until nothing is left to happen and nobody is left to let in."""
        self._world.run()
        while self.open():
            self._world.run()
