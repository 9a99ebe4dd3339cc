"""Tokens that a person carries: shown while they are wanted, taken however they come back, each once."""

import pytest
import trio

from signaling.carrier import Carrier, CarrierContext, Hands, Parcel, ParcelKind, Shown, bare_parcel
from signaling.carriers import carrier_from_spec
from signaling.errors import CarrierError, NotAToken, OwnToken, SignalError, TokenCut, WrongKind
from signaling.hands import MAX_WAITING, HandCarrier
from signaling.paste import PasteCarrier
from signaling.token import Kind, find_token, to_token

OFFER = bare_parcel(ParcelKind.OFFER, b"an offer" * 20)
ANSWER = bare_parcel(ParcelKind.ANSWER, b"an answer" * 20)


def token(parcel: Parcel) -> str:
    return to_token(Kind[parcel.kind.name], parcel.payload)


async def take(carrier: Carrier, count: int) -> list[Parcel]:
    arriving = carrier.parcels()
    with trio.fail_after(5):
        return [await anext(arriving) for _ in range(count)]


async def nothing_comes(carrier: Carrier) -> bool:
    arriving = carrier.parcels()
    with trio.move_on_after(0.05) as scope:
        await anext(arriving)
    return scope.cancelled_caught


async def test_an_offer_goes_out_as_a_token_and_an_answer_comes_back_as_a_parcel() -> None:
    here, there = (carrier_from_spec("paste") for _ in range(2))
    assert isinstance(here, Hands) and isinstance(there, Hands) and here.bare
    await here.send(OFFER)
    assert here.shown() == (Shown(ParcelKind.OFFER, token(OFFER)),)
    assert there.accept(f"> {here.shown()[0].token}\n") is ParcelKind.OFFER
    assert await take(there, 1) == [OFFER]
    await there.send(ANSWER)
    assert here.accept(there.shown()[0].token) is ParcelKind.ANSWER
    assert await take(here, 1) == [ANSWER]


async def test_what_was_withdrawn_is_shown_no_more_and_the_listener_hears_of_every_change() -> None:
    carrier, heard = PasteCarrier(), []
    carrier.on_shown(lambda: heard.append([shown.kind.value for shown in carrier.shown()]))
    await carrier.send(OFFER)
    await carrier.send(OFFER)
    await carrier.send(ANSWER)
    await carrier.withdraw(OFFER.kind, OFFER.key)
    await carrier.withdraw(OFFER.kind, OFFER.key)
    await carrier.aclose()
    await carrier.aclose()
    assert heard == [["offer"], ["offer", "answer"], ["answer"], []]


async def test_the_same_token_twice_is_one_parcel_also_when_it_was_taken_already() -> None:
    carrier = PasteCarrier()
    assert [carrier.accept(token(ANSWER)) for _ in range(3)] == [ParcelKind.ANSWER] * 3
    assert await take(carrier, 1) == [ANSWER]
    assert carrier.accept(token(ANSWER).upper()) is ParcelKind.ANSWER
    assert await nothing_comes(carrier)


async def test_a_reader_that_waits_is_woken_and_a_cancelled_one_takes_nothing_along() -> None:
    carrier, found = PasteCarrier(), []

    async def read() -> None:
        found.extend(await take(carrier, 2))

    assert await nothing_comes(carrier)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        carrier.accept(token(ANSWER))
        await trio.testing.wait_all_tasks_blocked()
        carrier.accept(token(OFFER))
    assert found == [ANSWER, OFFER]


async def test_our_own_token_is_told_from_one_that_came_back_also_after_it_was_withdrawn() -> None:
    carrier = PasteCarrier()
    await carrier.send(OFFER)
    for _ in range(2):
        with pytest.raises(OwnToken, match="This offer is the one that you show"):
            carrier.accept(token(OFFER))
        await carrier.withdraw(OFFER.kind, OFFER.key)
    assert await nothing_comes(carrier)


async def test_of_a_conversation_that_holds_our_token_and_theirs_theirs_is_taken() -> None:
    carrier = PasteCarrier()
    await carrier.send(OFFER)
    assert carrier.accept(f"me: {token(OFFER)}\n\nbob: {token(ANSWER)}\n") is ParcelKind.ANSWER
    assert await take(carrier, 1) == [ANSWER]
    with pytest.raises(OwnToken):
        carrier.accept(f"{token(OFFER)}\n> {token(OFFER)}")


async def test_what_is_no_parcel_says_what_it_is() -> None:
    carrier = PasteCarrier()
    for text, error in (
        ("hello", NotAToken),
        (token(OFFER)[:60], TokenCut),
        (to_token(Kind.INVITATION, b"x" * 50), WrongKind),
    ):
        with pytest.raises(error) as caught:
            carrier.accept(text)
        assert isinstance(caught.value, SignalError) and caught.value.hint
    with pytest.raises(WrongKind, match="This is an invitation"):
        carrier.accept(to_token(Kind.INVITATION, b"x" * 50))
    assert carrier.accept(f"{to_token(Kind.INVITATION, b'x' * 50)} {token(ANSWER)}") is ParcelKind.ANSWER
    assert await take(carrier, 1) == [ANSWER]
    assert await nothing_comes(carrier)


async def test_no_more_wait_than_somebody_carries() -> None:
    carrier = PasteCarrier()
    tokens = [to_token(Kind.OFFER, bytes([number]) * 30) for number in range(MAX_WAITING + 1)]
    for each in tokens[:-1]:
        carrier.accept(each)
    with pytest.raises(CarrierError, match="Too many"):
        carrier.accept(tokens[-1])
    assert len(await take(carrier, MAX_WAITING)) == MAX_WAITING
    assert carrier.accept(tokens[-1]) is ParcelKind.OFFER  # it was not remembered as taken
    assert [find_token(token(parcel)) for parcel in await take(carrier, 1)] == [tokens[-1]]


async def test_nobody_carries_a_presence() -> None:
    with pytest.raises(ValueError, match="no presence"):
        await PasteCarrier().send(Parcel(kind=ParcelKind.PRESENCE, key=bytes(32), payload=b"here"))


def test_paste_has_no_place() -> None:
    with pytest.raises(CarrierError, match="takes nothing"):
        carrier_from_spec("paste:/tmp")
    assert carrier_from_spec("paste", CarrierContext()).spec == "paste"
    assert isinstance(HandCarrier("other"), Hands)
