"""Each promise of tests/signaling/conformance.py, kept by each carrier there is."""

import random
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import trio

from signaling.carrier import PRESENCE_KEY, Carrier, Parcel, ParcelKind
from signaling.carriers import carrier_from_spec
from signaling.errors import CarrierError
from tests.signaling.conformance import (
    CASES,
    PATIENCE,
    SECRET,
    Desk,
    Hub,
    Place,
    Reader,
    descriptors,
    marks_of,
    opened_place,
)
from tests.signaling.hub_servers import hub_process

OFFER, ANSWER = ParcelKind.OFFER, ParcelKind.ANSWER


class Meeting:
    """Two members at one place, what was sent there, and readers of it."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.sent: dict[bytes, Parcel] = {}
        self.ann = place.carrier()
        self.bob = place.carrier()
        self.desk = Desk(bare=self.ann.bare)
        self.bobs = Desk(bare=self.ann.bare, sender=1)

    async def send(self, carrier: Carrier, *parcels: Parcel) -> None:
        for parcel in parcels:
            self.sent[parcel.payload] = parcel
            await carrier.send(parcel)

    def reader(self, carrier: Carrier) -> Reader:
        return Reader(carrier, sent=self.sent)


PLACES = [name for name, case in CASES.items() if case.has_place or case.hub]
SEALED = [name for name, case in CASES.items() if not carrier_from_spec(case.spec(Path("place"))).bare]


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    """Hubs that serve all tests here, each in a room of its own."""
    ports: dict[str, int] = {}
    with ExitStack() as stack:

        def started(kind: str) -> int:
            if kind not in ports:
                ports[kind] = stack.enter_context(hub_process(kind))[1]
            return ports[kind]

        yield started


@pytest.fixture(params=[pytest.param(name, marks=marks_of(case)) for name, case in CASES.items()])
async def meeting(request: pytest.FixtureRequest, tmp_path: Path, hub: Hub) -> AsyncIterator[Meeting]:
    async with opened_place(CASES[request.param], tmp_path / "place", hub=hub) as place:
        yield Meeting(place)


async def test_an_offer_and_its_answer_arrive_once(meeting: Meeting) -> None:
    offer, answer = meeting.desk.offer(), meeting.bobs.answer(0)
    anns, bobs = meeting.reader(meeting.ann), meeting.reader(meeting.bob)
    await meeting.send(meeting.ann, offer)
    assert await bobs.until(offer) == [offer]
    await meeting.send(meeting.bob, answer)
    assert [each for each in await anns.until(answer) if each.kind is ANSWER] == [answer]


async def test_an_answer_may_come_before_its_offer(meeting: Meeting) -> None:
    offer, answer = meeting.desk.offer(), meeting.bobs.answer(0)
    await meeting.send(meeting.bob, answer)
    anns = meeting.reader(meeting.ann)
    await anns.until(answer)
    await meeting.send(meeting.ann, offer)
    bobs = meeting.reader(meeting.bob)
    assert offer in await bobs.until(offer)


async def test_a_reader_that_begins_later_finds_what_waits(meeting: Meeting) -> None:
    offers = [meeting.desk.offer(to) for to in (1, 2, 3)]
    await meeting.send(meeting.ann, *offers)
    late = meeting.reader(meeting.place.carrier())
    assert sorted(await late.until(*offers), key=offers.index) == offers


async def test_a_reader_that_began_earlier_is_told_of_a_writer_that_comes_later(meeting: Meeting) -> None:
    reader = meeting.reader(meeting.bob)
    with trio.move_on_after(0.3):
        await reader.one()
    assert reader.came == []
    offer = meeting.desk.offer()
    await meeting.send(meeting.place.carrier(), offer)
    assert await reader.until(offer) == [offer]


async def test_what_is_sent_twice_or_by_two_arrives_once(meeting: Meeting) -> None:
    offer, last = meeting.desk.offer(), meeting.desk.offer(2)
    for carrier in (meeting.ann, meeting.ann, meeting.place.carrier()):
        await meeting.send(carrier, offer)
    await meeting.send(meeting.ann, last)
    reader = meeting.reader(meeting.bob)
    assert sorted(await reader.until(offer, last), key=[offer, last].index) == [offer, last]


async def test_many_parcels_all_arrive_in_whatever_order_they_were_sent(meeting: Meeting) -> None:
    parcels = [make(to) for to in range(2, 10) for make in (meeting.desk.offer, meeting.desk.answer)]
    random.Random(7).shuffle(parcels)
    reader = meeting.reader(meeting.bob)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(reader.until, *parcels)
        for parcel in parcels:
            nursery.start_soon(meeting.send, meeting.ann, parcel)
    assert sorted(reader.came, key=parcels.index) == parcels


async def test_junk_between_hinders_nothing_and_is_nothing(meeting: Meeting) -> None:
    before, after = meeting.desk.offer(), meeting.desk.answer(2)
    reader = meeting.reader(meeting.bob)
    await meeting.send(meeting.ann, before)
    meeting.place.spoil()
    await reader.until(before)
    await meeting.send(meeting.ann, after)
    assert await reader.until(after) == [before, after]
    if meeting.place.case.has_place:
        assert meeting.place.secret.read_bytes() == SECRET


async def test_a_newer_parcel_arrives_and_a_later_reader_sees_it_alone(meeting: Meeting) -> None:
    older, newer = meeting.desk.offer(), meeting.desk.offer(version=1)
    early = meeting.reader(meeting.bob)
    await meeting.send(meeting.ann, older)
    await early.until(older)
    await meeting.send(meeting.ann, newer)
    if meeting.ann.bare:  # it has another key, so nothing replaces anything
        await meeting.ann.withdraw(OFFER, older.key)
    else:
        assert older.key == newer.key
    assert await early.until(newer) == [older, newer]
    assert await meeting.reader(meeting.place.carrier()).until(newer) == [newer]


async def test_what_was_withdrawn_is_not_seen_by_a_later_reader(meeting: Meeting) -> None:
    gone, stays = [meeting.desk.offer(), meeting.desk.answer(2)], meeting.desk.offer(3)
    await meeting.send(meeting.ann, *gone, stays)
    for parcel in gone:
        await meeting.ann.withdraw(parcel.kind, parcel.key)
    assert await meeting.reader(meeting.place.carrier()).until(stays) == [stays]


async def test_withdrawing_twice_or_what_was_never_sent_is_nothing(meeting: Meeting) -> None:
    offer = meeting.desk.offer()
    await meeting.send(meeting.ann, offer)
    for _ in range(2):
        await meeting.ann.withdraw(OFFER, offer.key)
    await meeting.ann.withdraw(ANSWER, bytes(32))


async def test_a_withdrawn_parcel_may_be_sent_again(meeting: Meeting) -> None:
    offer = meeting.desk.offer()
    await meeting.send(meeting.ann, offer)
    await meeting.ann.withdraw(OFFER, offer.key)
    await meeting.send(meeting.ann, offer)
    assert await meeting.reader(meeting.place.carrier()).until(offer) == [offer]


async def test_closing_takes_ones_own_and_leaves_the_others(meeting: Meeting) -> None:
    ours, theirs = meeting.desk.offer(), meeting.bobs.offer(2)
    await meeting.send(meeting.ann, ours)
    await meeting.send(meeting.bob, theirs)
    await meeting.place.aclose(meeting.ann)
    assert await meeting.reader(meeting.place.carrier()).until(theirs) == [theirs]


async def test_closing_twice_is_closing_once_and_leaves_nothing(meeting: Meeting) -> None:
    await meeting.send(meeting.ann, meeting.desk.offer(), meeting.desk.answer())
    await meeting.ann.aclose()
    await meeting.ann.aclose()
    assert meeting.place.left() == []


async def test_being_cancelled_at_any_step_leaves_nothing_once_closed(meeting: Meeting) -> None:
    """Every send, withdrawal and read is cancelled at its first, second, ... step."""
    for carrier in (meeting.ann, meeting.bob):
        await meeting.place.aclose(carrier)
    await meeting.place.quiet()
    before = descriptors()
    for steps in range(6):
        carrier, offer = meeting.place.carrier(), meeting.desk.offer(version=steps)

        async def work(carrier: Carrier = carrier, offer: Parcel = offer) -> None:
            await meeting.send(carrier, offer)
            await carrier.withdraw(OFFER, offer.key)
            await meeting.send(carrier, offer)
            async for _ in carrier.parcels():
                pass

        async with trio.open_nursery() as nursery:
            nursery.start_soon(work)
            for _ in range(steps):
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
        await meeting.place.aclose(carrier)
    with trio.fail_after(PATIENCE):  # a thread that was left behind ends by itself
        while meeting.place.left() != [] or descriptors() > before:
            await trio.sleep(0.01)


async def test_a_reader_that_was_cancelled_and_goes_on_has_missed_nothing(meeting: Meeting) -> None:
    reader, offers = meeting.reader(meeting.bob), [meeting.desk.offer(to) for to in range(2, 8)]
    for offer in offers:
        await meeting.send(meeting.ann, offer)
        for _ in range(20):
            with trio.CancelScope() as scope:
                scope.cancel()
                await reader.one()
    assert sorted(await reader.until(*offers), key=offers.index) == offers


async def test_ones_own_parcels_do_not_hide_the_others(meeting: Meeting) -> None:
    ours, theirs = meeting.desk.offer(), meeting.bobs.offer(0)
    reader = meeting.reader(meeting.ann)
    await meeting.send(meeting.ann, ours)
    await meeting.send(meeting.bob, theirs)
    assert [each for each in await reader.until(theirs) if each != ours] == [theirs]


@pytest.mark.parametrize("meeting", PLACES, indirect=True)
async def test_a_place_that_is_away_is_said_and_used_when_it_is_back(meeting: Meeting) -> None:
    offer = meeting.desk.offer()
    reader = meeting.reader(meeting.bob)
    async with meeting.place.unavailable():
        with pytest.raises(CarrierError):
            await meeting.send(meeting.ann, offer)
        with trio.move_on_after(0.3):
            await reader.one()
        assert reader.came == []
    await meeting.send(meeting.ann, offer)
    assert await reader.until(offer) == [offer]


@pytest.mark.parametrize("meeting", PLACES, indirect=True)
async def test_closing_while_the_place_is_away_raises_nothing(meeting: Meeting) -> None:
    await meeting.send(meeting.ann, meeting.desk.offer())
    async with meeting.place.unavailable():
        await meeting.ann.aclose()


@pytest.mark.parametrize("meeting", SEALED, indirect=True)
async def test_the_presence_is_seen_and_goes(meeting: Meeting) -> None:
    here = Parcel(kind=ParcelKind.PRESENCE, key=PRESENCE_KEY, payload=b"here")
    last = meeting.desk.offer()
    await meeting.send(meeting.ann, here)
    assert await meeting.reader(meeting.bob).until(here) == [here]
    await meeting.ann.withdraw(ParcelKind.PRESENCE, PRESENCE_KEY)
    await meeting.send(meeting.ann, last)
    assert await meeting.reader(meeting.place.carrier()).until(last) == [last]


async def test_a_spec_names_the_same_place_again(meeting: Meeting) -> None:
    assert carrier_from_spec(meeting.ann.spec).spec == meeting.ann.spec
