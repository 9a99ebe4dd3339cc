"""A story in which members come and go, by votes of their own, while machines crash and links fail.

Besides, either some lie, or some leave and are removed, or somebody comes back with a new vote key after its
disk went back in time: never more trouble than the room of that day can bear.
"""

import hashlib
from functools import partial

from chain.control import AdmissionRule, Admit, Rekey, Remove, make_request, make_voucher
from chain.effects import Asks, Want
from chain.ids import Hash
from chain.replica import Replica
from tests.simulation.change import come_back, leave, others
from tests.simulation.machine import Node
from tests.simulation.newcomer import Door
from tests.simulation.rest import honest, is_guest, present
from tests.simulation.room import Seat, make_seat
from tests.simulation.siege import Siege
from tests.simulation.signatures import Violation

PEEP_EVERY = 0.25
"""Seconds between two looks at who was let in."""


class Gathering(Siege):
    """Joins always; departures only where nobody lies."""

    rollback_chance = 0.9

    def _size(self) -> int:
        return self.dice.choice((1, 1, 2, 3, 4, 4, 4, 5, 6, 7))

    def _rule(self) -> AdmissionRule:
        return self.dice.choice((AdmissionRule.ASK, AdmissionRule.AUTO))

    def _populate(self) -> None:
        self.door = Door(self.world)
        self.world.on_asks = self._asked
        self.vanished: list[Node] = []
        self.departing: set[Node] = set()
        super()._populate()

    def _how_many_lie(self) -> int:
        f = self.world.room.tip.committee.f
        return f if f and self.dice.random() < 0.4 else 0

    # What people do

    def _asked(self, node: Node, asks: Asks) -> None:
        """Who is asked says yes, after a while."""
        if node.honest:
            motion = Rekey(asks.request) if asks.rekey else Admit(asks.request)
            self.world.at(self.dice.uniform(0.05, 2), partial(self._want, node, motion))

    def _want(self, node: Node, motion: Admit | Rekey | Remove) -> None:
        if isinstance(node.replica, Replica):
            self.world.give(node, Want(motion))

    # Who comes

    def _plan_rollback(self) -> None:
        self._plan_joins()
        if not self.liars and not self.twins and self.dice.random() < 0.5:
            self._plan_departures()
        else:
            super()._plan_rollback()
        for tick in range(int(self.horizon / PEEP_EVERY)):
            self.world.at(tick * PEEP_EVERY, self.door.open)

    def _plan_joins(self) -> None:
        number = 0
        for _ in range(self.dice.choice((1, 1, 2, 3))):
            at, crowd = self._some_time() * 0.7, self.dice.choice((1, 1, 2))
            self.world.tally["two_joins_at_once"] += crowd > 1
            for _ in range(crowd):
                number += 1
                self.world.at(at, partial(self._knock, make_seat(self.world.scheme, f"new{number}")))

    def _knock(self, seat: Seat) -> None:
        sponsors = [node for node in present(self.world) if node.replica is not None]
        if not sponsors:
            return
        sponsor = self.dice.choice(sponsors)
        invited = self.world.room.genesis.rule is AdmissionRule.AUTO
        secret = self.world.scheme.signer(hashlib.sha256(b"invitation for " + seat.id).digest())
        inviter = sponsor.seat.identity
        key, room = Hash(secret.public), self.world.room.id
        request = make_request(
            room=room,
            nick=seat.nick,
            identity=seat.identity,
            vote=seat.vote,
            voucher=make_voucher(room=room, key=key, expires=2**40, inviter=inviter) if invited else None,
            invitation=secret if invited else None,
        )
        node = self.door.knock(seat, request, sponsor=sponsor)
        self.world.tally["joins"] += 1
        if self.dice.random() < 0.3:
            wait = self.dice.uniform(0, 3)
            if self.world.calendar.now + wait < self.horizon:  # afterwards nothing more goes wrong
                self.world.at(wait, partial(self._vanish, node))

    def _vanish(self, node: Node) -> None:
        """It is gone, member by now or not, until the story heals."""
        self.world.tally["newcomers_vanished"] += 1
        self.vanished.append(node)
        for other in self.world.nodes:
            if other is not node:
                self.world.blocked.add(frozenset((node, other)))
        self.world.relink()

    # Who goes

    def _plan_departures(self) -> None:
        for _ in range(self.dice.choice((0, 1, 1, 2, 3))):
            depart = self.dice.choice((self._remove_somebody, self._leave, self._remove_leader))
            self.world.at(self._some_time(), depart)

    def _may_go(self) -> list[Node]:
        """Members whose loss leaves a room, and no other loss under way."""
        members = [node for node in present(self.world) if node.replica is not None]
        if len(members) - len(self.departing) <= 1:
            return []
        return [node for node in members if node not in self.departing]

    def _leave(self) -> None:
        if going := self._may_go():
            node = self.dice.choice(going)
            self.departing.add(node)
            self.world.tally["removals"] += 1
            leave(self.world, node)

    def _remove_somebody(self) -> None:
        if len(going := self._may_go()) > 3:
            self._remove(self.dice.choice(going))

    def _remove(self, node: Node) -> None:
        self.departing.add(node)
        self.world.tally["removals"] += 1
        for other in others(self.world, node):
            self.world.at(self.dice.uniform(0, 1), partial(self._want, other, Remove(node.id)))

    def _remove_leader(self) -> None:
        """Cut off first, so that rounds change while the others vote it out."""
        going = self._may_go()
        if len(going) <= 3:
            return
        tip = max((node.running.tip for node in going), key=lambda tip: tip.height)
        leader = tip.committee.members[tip.leader_of(0)].identity
        node = next((node for node in going if node.id == leader), None)
        if node is None:
            return
        self.world.blocked |= {frozenset((node, other)) for other in self.world.nodes if other is not node}
        self.world.relink()
        self.world.tally["leader_removed_in_round_change"] += 1
        self._remove(node)

    # The end of it

    def _heal(self) -> None:
        """Who vanished before it was a member stays away; who lost its journal asks for a new key."""
        super()._heal()
        for node in honest(self.world):
            self._mend(node)
        self.door.open()

    def _mend(self, node: Node) -> None:
        if isinstance(node.replica, Replica) and node.replica.journal_lost and not node.replica.removed:
            come_back(self.world, node)
            self.world.tally["rekeys"] += 1

    def _open_doors(self) -> bool:
        opened = self.door.open() > 0
        for node in present(self.world):
            lost = node.amnesiac and node.replica is not None and node.running.journal_lost
            if lost and not node.running.coming_back:
                self._mend(node)
                opened = True
        return opened

    def _silence(self) -> None:
        super()._silence()
        self.world.run()
        while self.door.open():
            self.world.run()
        for node in present(self.world):
            self.world.tally["admitted"] += node.name.startswith("new")
        waiting = [node for node in honest(self.world) if is_guest(node) and node not in self.vanished]
        for node in waiting:
            if self._ought_to_be_in(node):
                raise Violation(f"{node} asked to be let in, was never let in, and still waits")

    def _ought_to_be_in(self, guest: Node) -> bool:
        """Whether the member it asked is still one: else it has to ask another, as people do."""
        members = {node.id for node in present(self.world)}
        return any(peer in members for peer in guest.links)
