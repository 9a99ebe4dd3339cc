"""Server-Sent Events, however they are cut, and whoever sends them."""

import random
import tracemalloc

import pytest

from signaling.event_stream import Event, EventStream


def read(text: bytes, *, step: int | None = None, limit: int = 32 * 1024) -> tuple[list[bytes], EventStream]:
    """The data of all events, and the stream afterwards; `step`: bytes at a time."""
    stream, found = EventStream(limit=limit), []
    for at in range(0, len(text), step or len(text) or 1):
        found += stream.feed(text[at : at + (step or len(text))])
    return [event.data for event in found], stream


@pytest.mark.parametrize("step", [None, 1, 2, 3, 7])
@pytest.mark.parametrize(
    ("text", "data"),
    [
        (b"data: a\n\n", [b"a"]),
        (b"data:a\r\n\r\ndata:  b\r\rdata: c\n\n", [b"a", b" b", b"c"]),
        (b"\xef\xbb\xbfdata: a\n\n", [b"a"]),
        (b"data: a\ndata\ndata: b\n\n", [b"a\n\nb"]),
        (b"data\n\n", [b""]),
        (b":heartbeat signal\n\n:x\ndata: a\n:y\n\n", [b"a"]),
        (b"event: open\nretry: 3\nfoo: bar\nbar\ndata: a\n\n", [b"a"]),
        (b"data: never ends\n", []),
        (b"\n\n\r\n\r\r", []),
        (b"event: only\n\nid: 7\n\n", []),
    ],
)
def test_events_are_what_the_standard_says_however_they_are_cut(
    text: bytes, data: list[bytes], step: int | None
) -> None:
    assert read(text, step=step)[0] == data


def test_the_kind_of_an_event_is_its_own() -> None:
    assert EventStream().feed(b"event: ping\ndata: a\n\ndata: b\n\n") == [Event(b"a", b"ping"), Event(b"b")]


def test_an_id_counts_once_its_event_is_whole_and_stays() -> None:
    stream = EventStream(last_id="4")
    stream.feed(b"id: 5\ndata: a\n")
    assert stream.last_id == "4", "it was not taken in yet, so it has to come again"
    stream.feed(b"\n")
    assert stream.last_id == "5"
    stream.feed(b"data: b\n\n")
    assert stream.last_id == "5"
    stream.feed(b"id: 6\n\n")
    assert stream.last_id == "6"
    stream.feed(b"id\n\n")
    assert stream.last_id == ""


@pytest.mark.parametrize("bad", [b"a\0b", b"\xff", b"x" * 129, "é".encode(), b"a\tb"])
def test_an_id_that_fits_in_no_header_is_none(bad: bytes) -> None:
    stream = EventStream()
    stream.feed(b"id: good\ndata: a\n\nid: " + bad + b"\ndata: b\n\n")
    assert stream.last_id == "good"


@pytest.mark.parametrize("step", [None, 1, 1000])
def test_an_event_that_is_too_large_is_skipped_and_counted_and_the_next_one_comes(step: int | None) -> None:
    large = [b"data: " + b"x" * 2000 + b"\n\n", b"data: x\n" * 300 + b"\n", b"z" * 3000 + b"\ndata: y\n\n"]
    data, stream = read(b"".join(each + b"data: next\n\n" for each in large), step=step, limit=1000)
    assert data == [b"next"] * 3
    assert stream.oversize == 3


def test_heartbeats_alone_never_add_up_to_an_event_that_is_too_large() -> None:
    data, stream = read(b":heartbeat\n" * 1000 + b"data: a\n\n", limit=1000)
    assert (data, stream.oversize) == ([b"a"], 0)


def test_no_stream_takes_more_memory_than_an_event_may_have() -> None:
    for endless in (
        b"data: " + b"x" * 60_000,
        b"data: x\n" * 8000,
        b"id: 1\nevent: x\n" * 4000,
        b":\n" * 30_000,
    ):
        stream = EventStream()
        tracemalloc.start()
        for _ in range(12):
            stream.feed(endless)
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert held < 300_000, endless[:8]


def test_any_bytes_are_read_alike_in_one_piece_and_in_many() -> None:
    dice = random.Random(11)
    parts = [
        b"data",
        b": ",
        b":",
        b"\n",
        b"\r",
        b"\r\n",
        b"id",
        b"7",
        b"event",
        b"x" * 40,
        b"\n\n",
        b"\xef\xbb\xbf",
    ]
    for _ in range(300):
        text = b"".join(dice.choices(parts, k=dice.randrange(60)))
        whole, stream = read(text, limit=100)
        found, other = [], EventStream(limit=100)
        at = 0
        while at < len(text):
            end = at + dice.randrange(1, 9)
            found += other.feed(text[at:end])
            at = end
        assert [event.data for event in found] == whole
        assert (other.last_id, other.oversize) == (stream.last_id, stream.oversize)
