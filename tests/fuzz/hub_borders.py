"""What strangers send to a hub: requests, read in any pieces alike, and as a second parser reads them."""

import random
from collections.abc import Sequence

import h11

from signaling.hub import head as hub_head
from signaling.hub.head import Head
from signaling.hub.reader import RequestReader
from signaling.hub.settings import HubSettings
from tests.fuzz.decoder import Decoder, Differs, Feed, Refused
from tests.fuzz.forms import TEXT
from tests.signaling.hub.smuggling import ACCEPTED

SETTINGS = HubSettings()


def _requests() -> Sequence[bytes]:
    every = list(ACCEPTED.values())
    return [*every, b"".join(every[:8]), b"".join(every[8:])]


def _read(data: bytes, size: int) -> tuple[list[tuple[Head, bytes]], bool]:
    """All requests in pieces of this size, and whether more is refused."""
    reader, got = RequestReader(SETTINGS), list[tuple[Head, bytes]]()
    try:
        for at in range(0, len(data), size):
            reader.feed(data[at : at + size])
            while (request := reader.next()) is not None:
                got.append(request)
    except hub_head.Refused:
        return got, True
    return got, False


def _understood_by_h11(data: bytes) -> None:
    """The first request's head, if it was accepted, is one to h11 as well, and says the same."""
    start = len(data) - len(data.lstrip(b"\r\n"))
    head = data[start : data.find(b"\r\n\r\n", start) + 4]
    ours = hub_head.parse_head(head, max_headers=SETTINGS.max_headers)
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(head)
    try:
        theirs = connection.next_event()
    except h11.RemoteProtocolError as error:
        raise Differs(f"accepted, and h11 says: {error}") from None
    assert isinstance(theirs, h11.Request)
    length = next((value for name, value in theirs.headers if name == b"content-length"), b"0")
    if ours.length is not None and ours.length != int(length):
        raise Differs("the body ends elsewhere")
    if theirs.method.decode() != ours.method:
        raise Differs("the method is another one")
    if theirs.target.startswith(b"/") and theirs.target.decode().partition("?")[::2] != (
        ours.path,
        ours.query,
    ):
        raise Differs("the path is another one")


def _request_feed() -> Feed:
    dice = random.Random(1)

    def feed(data: bytes) -> object:
        whole = _read(data, len(data) or 1)
        if _read(data, dice.choice((1, 2, 3, 7, 50))) != whole:
            raise Differs("in pieces it is something else")
        if not whole[0]:
            raise Refused
        _understood_by_h11(data)
        return whole

    return feed


DECODERS = [Decoder(name="hub/request", form=TEXT, samples=_requests, make=_request_feed, refuses=())]
