"""What a newcomer takes of a room's past: only what its owner or a quorum signed, whoever hands it on."""

from msgspec.structs import replace

from chain.block import Certificate
from chain.effects import Fault, FaultKind, HistoryGrew
from chain.history import History
from chain.ledger import genesis_tip
from chain.message import UNSIGNED, Committed, SlotMessage
from chain.outbox import Outbox
from chain.records import KeepBlock, KeepSlot
from tests.simulation.keys import HASHED
from tests.simulation.room import make_room

ROOM = make_room(3, HASHED)
LIAR = ROOM.seats[0].id


class Newcomer:
    """Begins at the room's tip and knows nothing of what lies before."""

    def __init__(self) -> None:
        self.out = Outbox()
        self.history = History(genesis_tip(ROOM.genesis), base=ROOM.tip, verify=HASHED.verify, out=self.out)

    def take(self, message: Committed | SlotMessage) -> list[FaultKind | int]:
        """What came of it: faults, and heights reached."""
        if isinstance(message, Committed):
            self.history.on_committed(message, peer=LIAR, now=0.0)
        else:
            self.history.on_slot(message, peer=LIAR, now=0.0)
        told = self.out.flush()
        return [
            effect.kind if isinstance(effect, Fault) else effect.height
            for effect in told
            if isinstance(effect, Fault | HistoryGrew)
        ]


def past() -> tuple[Committed, SlotMessage]:
    """The first block, and the only slot that it orders."""
    first = next(record for record in ROOM.records if isinstance(record, KeepBlock))
    slot = next(record for record in ROOM.records if isinstance(record, KeepSlot))
    return Committed(first.block, first.certificate), SlotMessage(slot.slot, ())


def test_a_block_of_the_past_is_taken_with_its_certificate_only() -> None:
    block, slot = past()
    newcomer = Newcomer()
    assert newcomer.take(replace(block, certificate=Certificate(0, ()))) == [FaultKind.LYING]
    assert newcomer.take(slot) == []
    assert newcomer.take(block) == []
    assert newcomer.take(slot) == [1]


def test_a_slot_of_the_past_is_taken_with_its_owners_signature_only() -> None:
    block, slot = past()
    newcomer = Newcomer()
    assert newcomer.take(block) == []
    forged = replace(slot, slot=replace(slot.slot, signature=UNSIGNED))
    assert newcomer.take(forged) == [FaultKind.WRONG_SIGNATURE]
    assert newcomer.take(slot) == [1]
