"""Requests are read strictly, the same in pieces of any size, and as a second parser reads them."""

import random
from itertools import pairwise

import h11
import pytest

from signaling.hub.head import Head, Refused, parse_head
from signaling.hub.reader import RequestReader
from signaling.hub.settings import HubSettings
from tests.signaling.hub.smuggling import ACCEPTED, GET, POST, REFUSED

SETTINGS = HubSettings()
PIECES = (b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b"\0", b",", b"\x80", b"\x0b", b"\x7f", b"chunked", b"5")
Got = tuple[Head, bytes]


def read(data: bytes, *cuts: int, settings: HubSettings = SETTINGS) -> list[Got]:
    """All requests in these bytes, which arrive cut at these places."""
    reader, got = RequestReader(settings), list[Got]()
    for start, end in pairwise([0, *cuts, len(data)]):
        reader.feed(data[start:end])
        while (request := reader.next()) is not None:
            got.append(request)
    return got


def refusal(data: bytes, *cuts: int, settings: HubSettings = SETTINGS) -> Refused:
    with pytest.raises(Refused) as caught:
        read(data, *cuts, settings=settings)
    return caught.value


@pytest.mark.parametrize("name", REFUSED)
def test_what_could_be_read_in_two_ways_is_refused(name: str) -> None:
    assert refusal(REFUSED[name]).status in (400, 501)


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_is_clear_is_read_once_and_whole(name: str) -> None:
    assert len(read(ACCEPTED[name])) == 1


@pytest.mark.parametrize("name", [*REFUSED, *ACCEPTED])
def test_it_does_not_matter_in_which_pieces_a_request_arrives(name: str) -> None:
    data = {**REFUSED, **ACCEPTED}[name]
    every_byte = range(1, len(data))
    if name in REFUSED:
        whole, cut = refusal(data), refusal(data, *every_byte)
        assert (whole.status, whole.text) == (cut.status, cut.text)
    else:
        assert read(data) == read(data, *every_byte)


def test_requests_that_come_in_one_piece_are_read_one_after_the_other() -> None:
    data = b"".join(ACCEPTED.values())
    got = [request for name in ACCEPTED for request in read(ACCEPTED[name])]
    assert read(data) == got == read(data, *range(1, len(data)))


def test_path_query_headers_and_body_are_as_they_were_sent() -> None:
    ((head, body),) = read(
        b"POST /v1/a%2Fb/c?d=e HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nx-a:  2 \r\nContent-Length: 3\r\n\r\n\0\r\n"
    )
    assert (head.method, head.path, head.query, body) == ("POST", "/v1/a%2Fb/c", "d=e", b"\0\r\n")
    assert head.headers == {"host": "h", "x-a": "1, 2", "content-length": "3"}


@pytest.mark.parametrize(
    ("extra", "version", "keep"),
    [
        (b"", b"1.1", True),
        (b"Connection: close\r\n", b"1.1", False),
        (b"Connection: foo, CLOSE\r\n", b"1.1", False),
        (b"Connection: closed\r\n", b"1.1", True),
        (b"", b"1.0", False),
    ],
)
def test_who_may_ask_again_on_the_same_connection(extra: bytes, version: bytes, keep: bool) -> None:
    ((head, _),) = read(b"GET / HTTP/%b\r\nHost: a\r\n%b\r\n" % (version, extra))
    assert head.keep_alive is keep


def test_sizes_are_looked_at_before_anything_is_parsed_or_kept() -> None:
    small = HubSettings(max_head=200, max_headers=4, max_body=10)
    assert refusal(b"GET /" + b"a" * 200, settings=small).status == 414
    assert refusal(GET + b"X: " + b"a" * 200, settings=small).status == 431
    assert refusal(GET + b"X: a\r\n" * 4 + b"\r\n", settings=small).status == 431
    assert len(read(GET + b"X: a\r\n" * 3 + b"\r\n", settings=small)) == 1
    assert refusal(POST + b"Content-Length: 11\r\n\r\n", settings=small).status == 413
    assert refusal(POST + b"Content-Length: 999999999999999999\r\n\r\n", settings=small).status == 413
    assert len(read(POST + b"Content-Length: 10\r\n\r\n0123456789", settings=small)) == 1
    chunked = POST + b"Transfer-Encoding: chunked\r\n\r\n"
    assert refusal(chunked + b"b\r\n", settings=small).status == 413
    assert refusal(chunked + b"5\r\nhello\r\n6\r\n", settings=small).status == 413
    assert refusal(chunked + b"fffffff\r\n", settings=small).status == 413
    assert read(chunked + b"5\r\nhello\r\n5\r\nworld\r\n0\r\n\r\n", settings=small)[0][1] == b"helloworld"


@pytest.mark.parametrize(
    "body",
    [
        b"5\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhello0\r\n\r\n",
        b"5\r\nhelloX\r\n0\r\n\r\n",
        b"5\r\nhello\r\n0\r\n\n",
        b"5\r\nhello\r\n0\r\nX: a\n\r\n",
        b"5\r\nhello\r\n0\r\n X\r\n\r\n",
        b"5\r\nhello\r\n0\r\nX y: a\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"+5\r\nhello\r\n0\r\n\r\n",
        b"-5\r\nhello\r\n0\r\n\r\n",
        b" 5\r\nhello\r\n0\r\n\r\n",
        b"5 \r\nhello\r\n0\r\n\r\n",
        b"5_0\r\nhello\r\n0\r\n\r\n",
        b"\r\n",
        b"000000005\r\nhello\r\n0\r\n\r\n",
        b"5;a\x0bb\r\nhello\r\n0\r\n\r\n",
        b"5;" + b"a" * 300 + b"\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhello\r\n0\r\n" + b"X: aaaaaaaa\r\n" * 600 + b"\r\n",
        b"5\r\r\nhello\r\n0\r\n\r\n",
    ],
)  # fmt: skip
def test_a_chunk_is_framed_by_the_letter_or_refused(body: bytes) -> None:
    data = POST + b"Transfer-Encoding: chunked\r\n\r\n" + body
    assert refusal(data).status in (400, 431)
    assert refusal(data, *range(1, len(data))).status in (400, 431)


def test_chunks_may_have_extensions_and_trailers_which_mean_nothing() -> None:
    body = b"5;a=b;c\r\nhello\r\n00A ; x\r\n0123456789\r\n0;z\r\nHost: evil\r\nContent-Length: 9\r\n\r\n"
    ((head, got),) = read(POST + b"Transfer-Encoding: chunked\r\n\r\n" + body)
    assert got == b"hello0123456789" and head.headers["host"] == "a" and "content-length" not in head.headers


def test_the_body_of_one_request_is_never_the_head_of_the_next() -> None:
    smuggled = b"GET /evil HTTP/1.1\r\nHost: a\r\n\r\n"
    data = POST + b"Content-Length: %d\r\n\r\n%b" % (len(smuggled), smuggled) + GET + b"\r\n"
    assert [head.path for head, _ in read(data)] == ["/v1/a/b", "/v1/a/b"]


def test_nothing_more_is_held_than_one_request_may_have() -> None:
    reader = RequestReader(SETTINGS)
    with pytest.raises(Refused):
        for _ in range(100):
            reader.feed(b"\r\n" * 1000 + b"X: " + b"a" * 1000)
            reader.next()
    assert reader.waiting <= SETTINGS.max_head + 3003


@pytest.mark.parametrize(
    "begun",
    [
        POST + b"Content-Length: 9000\r\n\r\n" + b"x" * 8000,
        POST + b"Transfer-Encoding: chunked\r\n\r\n2000\r\n" + b"x" * 8000,
        POST
        + b"Transfer-Encoding: chunked\r\n\r\n"
        + b"fa0\r\n"
        + b"x" * 4000
        + b"\r\n1000\r\n"
        + b"x" * 4000,
        POST + b"X: %b\r\nContent-Length: 9\r\n\r\n" % (b"x" * 8000),
    ],
    ids=["body", "chunk", "chunks", "head"],
)
def test_what_is_held_of_a_request_that_is_not_whole_is_counted_in_any_form(begun: bytes) -> None:
    reader = RequestReader(SETTINGS)
    for at in range(0, len(begun), 100):
        reader.feed(begun[at : at + 100])
        assert reader.next() is None
    assert 8000 <= reader.waiting <= len(begun)


def by_h11(head: bytes) -> tuple[str, str, list[tuple[str, str]]] | None:
    """What h11 understands; None: it refuses."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(head)
    try:
        event = connection.next_event()
    except h11.RemoteProtocolError:
        return None
    if not isinstance(event, h11.Request):
        return None
    headers = [(name.decode(), value.decode("latin-1")) for name, value in event.headers]
    return event.method.decode(), event.target.decode(), headers


def changed(head: bytes, dice: random.Random) -> bytes:
    """A few bytes other than they were, of the kind that parsers disagree about."""
    data = bytearray(head)
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        at = dice.randrange(len(data))
        piece = dice.choice(PIECES)
        match dice.randrange(3):
            case 0:
                data[at:at] = piece
            case 1:
                data[at : at + len(piece)] = piece
            case 2:
                del data[at : at + dice.randrange(1, 4)]
    return bytes(data)


def test_whatever_is_accepted_a_second_parser_accepts_and_understands_alike() -> None:
    dice, accepted = random.Random(1), 0
    heads = [data for data in (*REFUSED.values(), *ACCEPTED.values()) if b"\r\n\r\n" in data]
    for _ in range(20_000):
        changed_head = changed(dice.choice(heads), dice)
        head = changed_head[: changed_head.find(b"\r\n\r\n") + 4]
        if not head.startswith(b"GET") and not head.startswith(b"POST"):
            continue
        try:
            ours = parse_head(head, max_headers=64)
        except Refused:
            continue
        accepted += 1
        theirs = by_h11(head)
        assert theirs is not None, head
        method, target, headers = theirs
        assert ours.method == method
        if target.startswith("/"):
            assert (ours.path, ours.query) == (target.partition("?")[0], target.partition("?")[2])
        joined: dict[str, str] = {}
        for name, value in headers:
            joined[name] = f"{joined[name]}, {value}" if name in joined else value
        if ours.length is None:
            joined["transfer-encoding"] = ours.headers["transfer-encoding"]  # h11 writes it small
        assert ours.headers == joined, head
        assert (
            ours.length is None
            if "transfer-encoding" in joined
            else ours.length == int(joined.get("content-length", 0))
        )
    assert accepted > 500
