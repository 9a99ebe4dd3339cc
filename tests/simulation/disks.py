"""A story about a disk that went back in time when everybody had seen what its member signed since.

Then nothing excuses a second signature: it notices, or there was nothing to sign again.
"""

from functools import partial

from tests.simulation.machine import Node
from tests.simulation.proofs import check_proofs
from tests.simulation.rest import check_liveness, check_rest, everybody_is_level, honest
from tests.simulation.siege import Siege


class Archive(Siege):
    """No liar but a backup: what it restores is some older state of one member's disk."""

    def _size(self) -> int:
        return self.dice.choice((4, 4, 4, 5, 6, 7, 7, 10))

    def _how_many_lie(self) -> int:
        return 0

    def _plan_rollback(self) -> None:
        """In this story only once all is quiet."""

    def _end(self) -> None:
        world = self.world
        self._await_level()
        world.run()
        check_liveness(world)
        check_rest(world)
        world.restart_after = None
        for _ in range(2):
            self._say_much()
            world.run()
        victim = self.dice.choice(world.nodes)
        if self.dice.random() < 0.5:
            self._leave_something_open(victim)
        world.crash(victim)
        world.run()
        kept = len(victim.transactions)
        lost = self.dice.choice((1, 2, 5, self.dice.randint(0, kept)))
        world.roll_back(victim, to=max(0, kept - lost), accountable=True)
        world.restart(victim)
        self._say_much()
        world.run()
        self._mend()
        assert everybody_is_level(world)
        check_liveness(world)
        check_rest(world)
        check_proofs(world)

    def _say_much(self) -> None:
        for _ in range(self.dice.randrange(1, 6)):
            node = self.dice.choice(honest(self.world))
            self.world.at(self.dice.uniform(0, 3), partial(self.world.say, node))

    def _leave_something_open(self, victim: Node) -> None:
        """So few are up that nothing gets ordered, and what is signed stays above the cut."""
        world = self.world
        quorum = world.room.tip.committee.quorum
        others = [node for node in world.nodes if node is not victim]
        for node in self.dice.sample(others, len(others) - (quorum - 2)):
            world.crash(node)
        world.run()
        self._say_much()
        world.run()

    def _mend(self) -> None:
        for node in self.world.nodes:
            self.world.restart(node)
        self._say_much()
        self.world.run()
