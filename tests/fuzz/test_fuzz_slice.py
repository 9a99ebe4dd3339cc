"""A slice of `make fuzz` that fits into the test suite, and the machine tried on decoders with faults."""

import random
import time
from collections.abc import Callable

import pytest

from tests.fuzz.decoder import Decoder, Feed, same
from tests.fuzz.engine import Tally, make_input, replay, run_range
from tests.fuzz.forms import BINARY, JSON, MESSAGEPACK, TEXT
from tests.fuzz.run import DECODERS, fuzz, shortcomings

SLICE_SECONDS = 15


def test_a_slice_of_inputs_for_every_decoder_meets_nothing_but_documented_refusals() -> None:
    tallies = fuzz(list(DECODERS), seed=1, inputs=1000, jobs=2, seconds=2 * SLICE_SECONDS / len(DECODERS))
    assert list(shortcomings(tallies, least=1)) == []


@pytest.mark.parametrize("name", ["token", "envelope", "sctp", "door"])
def test_an_input_is_the_same_whenever_it_is_made(name: str) -> None:
    for index in (0, 1, 77):
        first, second = (make_input(DECODERS[name], seed=3, index=index) for _ in range(2))
        assert first == second
    assert make_input(DECODERS[name], seed=3, index=77) != make_input(DECODERS[name], seed=4, index=77)


def _strange(make: Callable[[], Feed], *, life: int = 0) -> Decoder:
    return Decoder(
        name="strange",
        form=BINARY,
        samples=lambda: [bytes(range(64))],
        make=make,
        refuses=(KeyError,),
        life=life,
    )


def _problems(feed: Feed) -> list[str]:
    return [problem for _, problem in run_range(_strange(lambda: feed), seed=0, start=0, stop=200).failures]


def _raise(error: Exception) -> Feed:
    def feed(data: bytes) -> object:
        raise error

    return feed


def test_an_exception_that_is_not_documented_is_a_failure() -> None:
    assert "ValueError: odd" in _problems(_raise(ValueError("odd")))[0]


def test_a_sound_sample_that_is_refused_is_a_failure() -> None:
    assert all("a sound sample is refused" in problem for problem in _problems(_raise(KeyError("no"))))
    assert _problems(_raise(KeyError("no")))


def test_an_accepted_input_that_encodes_to_something_else_is_a_failure() -> None:
    assert "Differs" in _problems(lambda data: same(data.rstrip(b"\0"), data))[0]


def test_an_input_that_takes_long_is_a_failure_by_processor_time() -> None:
    def slow(data: bytes) -> object:
        until = time.process_time() + (0.2 if len(data) > 64 else 0)
        while time.process_time() < until:
            pass
        return data

    tally = run_range(_strange(lambda: slow), seed=0, start=0, stop=12)
    assert any("took 2" in problem and " ms" in problem for _, problem in tally.failures)


def test_an_input_that_takes_much_memory_is_a_failure() -> None:
    tally = run_range(_strange(lambda: lambda data: bytes(40 << 20)), seed=0, start=0, stop=20)
    assert any("bytes of memory" in problem for _, problem in tally.failures)


def test_an_endless_input_is_a_failure_and_not_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.fuzz.engine.HANG", 0.3)

    def endless(data: bytes) -> object:
        while True:
            pass

    assert "Endless" in _problems(endless)[0]


def test_a_run_in_which_nothing_was_accepted_shows_nothing() -> None:
    nothing = Tally("token", count=10, refused=10)
    assert list(shortcomings({"token": nothing}, least=10)) == ["token: none accepted, so nothing was tried"]
    few = Tally("token", count=9, accepted=1, refused=8)
    assert list(shortcomings({"token": few}, least=10)) == ["token: 9 inputs, not 10"]


def test_an_input_is_replayed_in_the_state_that_it_met() -> None:
    """The third input of a life fails, whatever it is: alone it would not."""

    def make() -> Feed:
        fed: list[bytes] = []

        def feed(data: bytes) -> object:
            fed.append(data)
            if len(fed) == 3:
                raise ValueError("the third")
            return fed

        return feed

    decoder = _strange(make, life=5)
    found = [index for index, _ in run_range(decoder, seed=0, start=0, stop=10).failures]
    assert found == [2, 7]
    assert [index for index, _ in replay(decoder, seed=0, index=7).failures] == [7]
    assert replay(decoder, seed=0, index=6).failures == []


@pytest.mark.parametrize(
    ("form", "sample", "part"),
    [
        (MESSAGEPACK, b"\x93\x01\xc4\x02ab\x92\xa1x\xcd\x01\x00", b"\xc4\x02ab"),
        (MESSAGEPACK, b"\x93\x01\xc4\x02ab\x92\xa1x\xcd\x01\x00", b"\x92\xa1x\xcd\x01\x00"),
        (JSON, b'{"v": 1, "text": "a b"}', b'"text": "a b"'),
        (TEXT, b"pigeon:ABC one", b"one"),
        (BINARY, b"abcd", b"cd"),
    ],
)
def test_a_form_finds_the_parts_of_a_sample(form: object, sample: bytes, part: bytes) -> None:
    found = [sample[start:end] for start, end in form.parts(sample)]  # type: ignore[attr-defined]
    assert part in found


@pytest.mark.parametrize("form", [MESSAGEPACK, JSON, TEXT, BINARY])
def test_rewriting_a_part_keeps_to_bytes_of_any_length(form: object) -> None:
    dice = random.Random(0)
    for part in (b"\x00", b"\x92\x01\x02", b"\xc4\x01a", b'"v": 1', b"word"):
        assert all(
            isinstance(form.rewrite(part, dice), bytes)  # type: ignore[attr-defined]
            for _ in range(50)
        )
