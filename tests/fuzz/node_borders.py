"""What reaches a node besides its carriers: link frames, the control socket, lines that people type."""

from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import cache
from typing import Any, cast

import msgspec
import trio

from chain.control import AdmissionRule
from chain.ids import RoomId
from console.lines import Line, LineReader
from console.sanitize import json_line, one_line, paragraphs
from node import control
from node.admission import Admission
from node.api import MemberView, NodeApi
from node.attempt import Introduction
from node.content import body_text, text_body
from node.errors import ConnectFailed, LinkFault, NodeError
from node.events import AnyEvent, FinalEvent, InviteEvent, LinkView, NoticeEvent, RoomEvent, StatusEvent
from node.greet import greet
from node.link import MAX_CHANNEL_MESSAGE, WINDOW, Channel, Link
from node.webrtc import Connection
from node.wire import Reply
from signaling.description import make_answer
from signaling.handshake import Role
from tests.chain.drawing import Person
from tests.fuzz import signal_borders as signals
from tests.fuzz.chain_borders import requests, room
from tests.fuzz.decoder import Decoder, Differs, Feed, Refused
from tests.fuzz.forms import BINARY, JSON, MESSAGEPACK, TEXT, Form

# Links

WORDS = ("abandon", "ability", "able", "about")
_SENT = 1000


def _link() -> Link:
    """One that has sent a little, and said that it leaves."""
    link = Link(cast(Channel, None), peer=bytes(32), words=WORDS, initiator=True)
    link._sent, link._bye_sent = _SENT, True
    return link


def _frame(kind: int, payload: bytes = b"", *, stream: int = 0) -> bytes:
    return bytes((kind, stream)) + len(payload).to_bytes(2, "big") + payload


def _channel_messages() -> list[bytes]:
    piece, last, credit, ping, pong, bye, bye_ack = range(1, 8)
    bundles = [
        [_frame(last, b"hello")],
        [_frame(piece, b"he"), _frame(last, b"llo"), _frame(last)],
        [_frame(last, bytes(200))] * 50,
        [_frame(piece, bytes(MAX_CHANNEL_MESSAGE - 5))],
        [_frame(credit, (500).to_bytes(8, "big")), _frame(ping), _frame(pong)],
        [_frame(credit, _SENT.to_bytes(8, "big")), _frame(bye), _frame(bye_ack)],
        [_frame(last, b"aside", stream=1), _frame(last, b"hello"), _frame(last, bytes(4096), stream=1)],
        [],
    ]
    return [b"\x01" + b"".join(bundle) for bundle in bundles]


def _link_feed() -> Feed:
    links = [_link()]

    def feed(data: bytes) -> object:
        link = links[0]
        try:
            link._take(data)
        except LinkFault:
            links[0] = _link()
            raise
        assert link._pieces_size <= 2**20 and link._received - link._consumed <= WINDOW
        if len(link._inbox) > 100:
            links[0] = _link()
        return link

    return feed


# The proof at the beginning of a link


class _Open:
    """The near end of a channel whose far end says two things and is gone."""

    role = Role.OFFERER

    def __init__(self, says: Sequence[bytes]) -> None:
        self._says = deque(says)

    def exporter(self) -> bytes:
        return bytes(32)

    async def send(self, message: bytes) -> None:
        pass

    async def receive(self) -> bytes:
        if not self._says:
            raise ConnectFailed("The far end is silent.", "")
        return self._says.popleft()


def _greet_feed() -> Feed:
    offer = signals.offer_to_bob()
    answer = make_answer(
        key=signals.BOB, offer=offer, issued=signals.NOW, fingerprint=bytes(32), candidates=offer.candidates
    )

    async def feed(data: bytes) -> object:
        says = [data[:34], data[34:]]
        far = cast(Connection, _Open(says))
        try:
            return await greet(far, key=signals.ANN, offer=offer, answer=answer, faults=Counter())
        except ConnectFailed:
            if data[:2] == b"\xc1\x02" and len(data) >= 34:
                return None  # a good commitment by itself; nobody proves anything with random nonces
            raise

    return feed


# An introduction


def _admission() -> Admission:
    here = room()
    return Admission(
        room=RoomId(here.id),
        rule=AdmissionRule.AUTO,
        identity=signals.ANN,
        max_peers=31,
        tip=lambda: here.tip,
        words=lambda _who: "",
        guests_full=lambda: False,
        submit=lambda _given: None,
        faults=Counter(),
    )


_OFFER_HASH = bytes(range(32))


def _introductions() -> list[bytes]:
    """A grant and the proof for one offer."""
    text = b"pigeon/introduction/v1\0" + room().id + _OFFER_HASH
    proof = Person("secret").identity.sign(text)
    vouchers = [request.voucher for request in requests() if request.voucher is not None]
    return [msgspec.msgpack.encode((msgspec.msgpack.encode(voucher), proof)) for voucher in vouchers]


def _introduction_feed() -> Feed:
    admission = _admission()

    def feed(data: bytes) -> object:
        try:
            grant, proof = msgspec.msgpack.decode(data, type=tuple[bytes, bytes])
        except (msgspec.DecodeError, RecursionError):
            grant, proof = data[:-64], data[-64:]
        if admission.admits(bytes(32), Introduction(grant=grant, proof=proof), _OFFER_HASH) is False:
            raise Refused
        return grant

    return feed


# The control socket


class Quiet:
    """A node that answers everything at once."""

    async def room(self) -> RoomEvent:
        return RoomEvent(room="tea", fingerprint="ff", me="aa", nick="ann", n=4, f=1, quorum=3)

    async def say(self, text: str) -> str:
        return text_body(text).data[:16].hex()

    async def status(self) -> StatusEvent:
        return STATUS

    async def who(self) -> list[MemberView]:
        return [MEMBER]

    async def admit(self, who: str) -> MemberView:
        return MEMBER if who == "ann" else _admission().admit(who)

    async def remove(self, who: str) -> Any:
        return _admission().admit(who)

    async def leave(self) -> Any:
        return await self.room()

    async def invite(self) -> InviteEvent:
        return InviteEvent(token="pigeon:x", expires=1)

    async def carry(self, text: str) -> str:
        return "offer"

    @asynccontextmanager
    async def events(
        self, *, since: int | None = None, watching: bool = True
    ) -> AsyncIterator[AsyncIterator[AnyEvent]]:
        assert since is None or 0 <= since < 2**63, "it goes into a query of the store's"

        async def none() -> AsyncIterator[AnyEvent]:
            yield NoticeEvent(message="that was all")

        yield none()


STATUS = StatusEvent(
    n=4, f=1, quorum=3, up=3, height=9, index=70, pending=1, waiting_for=["bob"],
    links=[LinkView(member="aa", nick="ann", state="up")], notes=["a note"],
)  # fmt: skip
MEMBER = MemberView(member="aa", nick="ann", state="me", admitted_at=0)
EVENTS: list[AnyEvent] = [
    STATUS,
    FinalEvent(
        index=3,
        height=2,
        id="00",
        member="aa",
        nick="ann",
        text="hello \u2028 \u25a0",
        claimed_time=1,
        mine=True,
    ),
    NoticeEvent(message="that was all"),
]


class Stream:
    """Gives out what it was made with and takes everything."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.sent = bytearray()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        data, self._data = self._data[:65_536], self._data[65_536:]
        await trio.lowlevel.checkpoint()
        return data

    async def send_all(self, data: bytes) -> None:
        self.sent += data


def _requests() -> list[bytes]:
    calls = [
        {"call": "room"}, {"call": "status", "v": 1}, {"call": "who", "v": 1}, {"call": "invite"},
        {"call": "say", "v": 1, "text": "hello \u25a0 \n there"}, {"call": "admit", "v": 1, "who": "ann"},
        {"call": "events", "v": 1, "since": 0, "watching": True}, {"call": "events", "since": None},
    ]  # fmt: skip
    lines = [msgspec.json.encode(call) + b"\n" for call in calls]
    return [*lines, b"".join(lines[:4])]


def _request_feed() -> Feed:
    async def feed(data: bytes) -> object:
        stream = Stream(data)
        await control._serve_client(cast(NodeApi, Quiet()), cast(trio.SocketStream, stream))
        answers = bytes(stream.sent).splitlines()
        for line in answers:
            if msgspec.json.decode(line, type=dict[str, msgspec.Raw]).get("error") is not None:
                raise Refused
        if not answers:
            raise Refused
        return answers

    return feed


def _replies() -> list[bytes]:
    """What a node answers: to a question, to a wrong one, and a stream of events."""
    ok = [Reply(ok=msgspec.Raw(msgspec.json.encode(each))) for each in (STATUS, [MEMBER], "00ff")]
    return [
        *(msgspec.json.encode(reply) + b"\n" for reply in ok),
        b"".join(msgspec.json.encode(each) + b"\n" for each in (Reply(), *EVENTS)),
    ]


class _Remote(control.RemoteNode):
    """Connected to what the fuzzer says."""

    def __init__(self, data: bytes) -> None:
        self._said = data

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[trio.SocketStream]:
        yield cast(trio.SocketStream, Stream(self._said))


def _reply_feed() -> Feed:
    async def feed(data: bytes) -> object:
        remote = _Remote(data)
        if b"\n" in data.rstrip(b"\n"):
            async with remote.events(since=0) as events:
                return [event async for event in events]
        if data[6:7] == b"[":
            return await remote.who()
        return await (remote.say("x") if data[6:7] == b'"' else remote.status())

    return feed


# What people type, and what others wrote


def _typed() -> list[bytes]:
    return [b"hello\nthere\n", "caf\u00e9 \u25a0\r\nnext\n".encode(), b"x" * 16_384 + b"\nshort\n", b"no end"]


def _line_feed() -> Feed:
    async def feed(data: bytes) -> object:
        chunks = deque([data[at : at + 60_000] for at in range(0, len(data), 60_000)])
        lines, bad = LineReader(lambda: chunks.popleft() if chunks else b""), 0
        while (line := await lines.next()) is not None:
            if isinstance(line, Line):
                assert len(line.text.encode()) <= 16_384 and "\n" not in line.text
            else:
                bad += 1
            assert len(lines._buffer) <= 200_000
        if bad:
            raise Refused
        return bad

    return feed


def _bodies() -> list[bytes]:
    texts = (
        "hello", "two\nlines\tand a tab", "\x1b[31mred\x1b[0m", "\u202eolleh", "\x1b]0;title\x07",
        "e\u0301\u200d" * 50,
    )  # fmt: skip
    return [text_body(text).data for text in texts]


def _body_samples() -> list[bytes]:
    return [bytes(16) + data[16:] for data in _bodies()]


_STEERING = {chr(code) for code in (*range(0x20), 0x7F, *range(0x80, 0xA0), 0x202A, 0x202E, 0x2028, 0x2066)}


def _body_feed() -> Feed:
    """A message's bytes as they get to a terminal and into a line of JSON."""

    def feed(data: bytes) -> object:
        text = body_text(data)
        if text is None:
            raise Refused
        shown = one_line(text), paragraphs(text, indent="  "), json_line(msgspec.json.encode(text)).decode()
        if _STEERING & set(shown[0] + shown[1].replace("\n", "") + shown[2][:-1]):
            raise Differs("what steers a terminal was shown")
        assert msgspec.json.decode(shown[2]) == text
        return shown

    return feed


def _decoder(
    name: str,
    form: Form,
    samples: Callable[[], Sequence[bytes]],
    make: Callable[[], Feed],
    refuses: tuple[type[Exception], ...] = (),
    **more: Any,
) -> Decoder:
    return Decoder(name=name, form=form, samples=cache(samples), make=make, refuses=refuses, **more)


DECODERS = [
    _decoder("link/frames", BINARY, _channel_messages, _link_feed, (LinkFault,), life=50),
    _decoder(
        "link/greeting",
        BINARY,
        lambda: [b"".join(signals.handshake_messages())],
        _greet_feed,
        (ConnectFailed,),
        waits=True,
    ),
    _decoder("introduction", MESSAGEPACK, _introductions, _introduction_feed),
    _decoder("control/request", JSON, _requests, _request_feed, waits=True),
    _decoder("control/reply", JSON, _replies, _reply_feed, (NodeError,), waits=True),
    _decoder("typed", TEXT, _typed, _line_feed, waits=True),
    _decoder("body", TEXT, _body_samples, _body_feed),
]
