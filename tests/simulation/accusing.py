"""Accusations as tests make and read them."""

from collections.abc import Iterable

from chain.block import Slot
from chain.codec import encode
from chain.committee import Committee
from chain.evidence import Evidence, SignedStub, TwoSlots, convict, decode_evidence
from chain.ids import RoomId
from chain.message import Accusation, Message, unpack
from tests.simulation.machine import Filter


def accusation(evidence: Evidence) -> Accusation:
    return Accusation(encode(evidence))


def two_slots(first: Slot, second: Slot, *, room: RoomId) -> Accusation:
    """Whether or not they prove anything."""
    return accusation(TwoSlots(*(SignedStub(slot.stub(room), slot.signature) for slot in (first, second))))


def accused_place(message: Accusation, *, room: RoomId, committee: Committee) -> int | None:
    """The place of who is convicted, with any signatures taken for good."""
    evidence = decode_evidence(message.evidence)
    found = convict(evidence, room=room, committee=committee, verify=lambda *_: True)
    return found.place if found is not None else None


def no_accusations(messages: Iterable[Message]) -> list[Message]:
    return [message for message in messages if not isinstance(message, Accusation)]


def hears_no_accusation() -> Filter:
    """Drops envelopes with evidence: honest code that lies would stop at its own."""
    return lambda data: None if any(isinstance(m, Accusation) for m in unpack(data)) else data
