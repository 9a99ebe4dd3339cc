"""The adversary: one member with one vote key that runs twice, each half sure of being the only one.

Both halves are honest code, so what they sign is always well-formed and often convincing: two slots for one
place, acks on two branches, two votes in one round. Whom each half talks to changes as the seed says.
"""

import random
from collections.abc import Mapping
from enum import Enum

import msgspec

from chain.message import (
    Accusation,
    Ack,
    Committed,
    Hello,
    Message,
    Precommit,
    Prevote,
    Propose,
    RoundChange,
    SlotMessage,
    pack,
    unpack,
)
from tests.simulation.machine import Filter, Node
from tests.simulation.room import Seat
from tests.simulation.world import World


class Ending(Enum):
    """What becomes of a twin when the faults of a run are over."""

    SILENT = "silent"
    ONE_HALF = "one half"
    STILL_TWO = "still two"


class Twin:
    """Two machines in one seat, and which honest node talks to which of them."""

    def __init__(self, world: World, seat: Seat) -> None:
        self._world = world
        self._side: dict[Node, Node | None] = {}
        self.halves = tuple(
            world.add(f"{seat.nick}{half}", seat, records=world.room.records, honest=False)
            for half in ("'", '"')
        )
        place = world.room.tip.committee.place(seat.id)
        assert place is not None
        for half in self.halves:
            half.filter = forgetful(place)
        self._others_may_link = world.may_link
        world.may_link = self._may_link

    def _may_link(self, one: Node, other: Node) -> bool:
        if not self._others_may_link(one, other):
            return False
        if not one.honest and not other.honest:
            return False
        if one in self.halves:
            return self._side.get(other) is one
        if other in self.halves:
            return self._side.get(one) is other
        return True

    def rewire(self, dice: random.Random) -> None:
        """Each honest node talks to one half or the other from now on, or to none."""
        for node in self._world.nodes:
            if node.honest:
                self._side[node] = dice.choice((*self.halves, *self.halves, None))
        self._world.relink()

    def talk_to(self, side: Mapping[Node, Node | None]) -> None:
        """Each honest node talks to this half from now on."""
        self._side = dict(side)
        self._world.relink()

    def end(self, how: Ending) -> None:
        """The faults are over: nothing of the twin is left, or one half, or it goes on as it is."""
        match how:
            case Ending.SILENT:
                self._side.clear()
            case Ending.ONE_HALF:
                self._side = {node: self.halves[0] for node in self._world.nodes if node.honest}
            case Ending.STILL_TWO:
                pass
        self._world.relink()

    def revive(self) -> None:
        """Honest code trips over a room that contradicts its own journal; it starts over, having lost it."""
        for half in self.halves:
            if half.replica is None:
                self._world.wipe(half)
                self._world.start(half, restarted=False)
        self._world.relink()


def forgetful(place: int) -> Filter:
    """Keeps from a half whatever would tell it that another half signs in its name."""

    def filtered(data: bytes) -> bytes | None:
        kept: list[Message] = []
        committed = False
        for message in unpack(data):
            match message:
                case Hello():
                    kept.append(msgspec.structs.replace(message, yours=None))
                    continue
                case Committed():
                    committed = True
                case SlotMessage(slot=slot) if slot.lane == place and not committed:
                    continue
                case Accusation():
                    continue
                case Ack(signer=signer) if signer == place:
                    continue
                case (
                    Prevote(signer=signer)
                    | Precommit(signer=signer)
                    | RoundChange(signer=signer)
                    | Propose(signer=signer)
                ) if signer == place:
                    continue
                case _:
                    pass
            kept.append(message)
        envelopes = pack(kept)
        return envelopes[0] if envelopes else None

    return filtered
