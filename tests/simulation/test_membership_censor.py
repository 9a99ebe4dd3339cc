"""A leader that leaves its own removal out of every block it proposes is removed all the same."""

from functools import partial
from itertools import takewhile

import pytest

from chain.block import Head
from chain.cuts import slots_of
from chain.ids import SlotId
from chain.ledger import extend
from chain.message import UNSIGNED, Precommit, Prevote, Propose, RoundChange, pack, signed, unpack
from chain.records import KeepSlot
from tests.simulation.change import chatter, check_room, members, others, remove, top
from tests.simulation.machine import Node
from tests.simulation.network import Latency, fixed, uniform
from tests.simulation.test_membership_rounds import Hall


class Censor:
    """The leader's machine: its replica is honest, what it proposes to others is not."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._proposals: dict[int, Propose | None] = {}
        self.censored = 0
        """How many proposals left something out."""

    def rewrite(self, target: Node, data: bytes) -> list[bytes]:
        """For `Node.rewrite`; its other votes would show that it believes in another block."""
        del target
        said = []
        for message in unpack(data):
            if isinstance(message, Propose):
                if message.height not in self._proposals:
                    self._proposals[message.height] = self._instead(message)
                if (instead := self._proposals[message.height]) is not None:
                    said.append(instead)
            elif not isinstance(message, Prevote | Precommit | RoundChange):
                said.append(message)
        return pack(list(said))

    def _instead(self, proposal: Propose) -> Propose | None:
        """The furthest block without a motion or an approval in it; None: better say nothing."""
        replica = self._node.running
        tip, state = replica.tip, replica.state
        cut = self._clean_cut()
        if proposal.height != tip.height + 1 or proposal.round > 0:
            return None
        self.censored += cut != proposal.block.cut
        if cut == tip.cut:
            return None
        slots, _ = slots_of(state.broadcast, cut)
        block = extend(tip, cut=cut, leader=self._node.id, slots=slots, verify=state.epoch.verify).block
        bare = Propose(proposal.epoch, proposal.height, 0, proposal.signer, block, (), UNSIGNED)
        return signed(bare, room=tip.room, key=self._node.seat.vote)

    def _clean_cut(self) -> tuple[Head, ...]:
        broadcast = self._node.running.state.broadcast
        chains: list[list[KeepSlot]] = []
        for lane in broadcast.lanes:
            chain = broadcast.branch(lane.place, have=lane.base.seq, head=lane.head)
            chains.append(list(takewhile(lambda kept: not kept.slot.control, chain)))
        while True:
            chosen: set[SlotId] = {kept.id for chain in chains for kept in chain}
            closed = [list(takewhile(partial(self._rests_on, chosen), chain)) for chain in chains]
            if closed == chains:
                break
            chains = closed
        return tuple(
            Head(chain[-1].slot.seq, chain[-1].id) if chain else lane.base
            for lane, chain in zip(broadcast.lanes, chains, strict=True)
        )

    def _rests_on(self, chosen: set[SlotId], kept: KeepSlot) -> bool:
        lanes = self._node.running.state.broadcast.lanes
        return all(dep.id in chosen or dep.seq <= lanes[dep.lane].base.seq for dep in kept.slot.deps)


@pytest.mark.parametrize("latency", [fixed(1 / 16), uniform(0.001, 0.3)])
@pytest.mark.parametrize("n", [4, 5, 7])
def test_a_leader_cannot_keep_its_own_removal_out_of_the_record(n: int, latency: Latency) -> None:
    hall = Hall(n, latency=latency, seed=n)
    world, leader = hall.world, hall.leader()
    leader.honest = False
    censor = Censor(leader)
    leader.rewrite = censor.rewrite
    for node in others(world, leader):
        world.at(world.dice.uniform(0, 0.3), partial(world.say, node))
    world.at(0.15, lambda: remove(world, leader))
    chatter(world, lines=40, within=6)
    world.run()
    assert censor.censored > 0
    assert leader not in members(world)
    assert top(world).tip.epoch == world.room.tip.epoch + 1
    for node in members(world):
        world.say(node)
    world.run()
    check_room(world)
