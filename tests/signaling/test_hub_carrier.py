"""`hub:` on the wire: what is said again and when, how a stream is kept, and what a bad hub gets of it."""

import itertools
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress

import pytest
import trio

from signaling import hub_client, hub_line
from signaling.carrier import CarrierContext, Parcel, ParcelKind
from signaling.errors import CarrierError, SignalError
from signaling.hub_box import HubBox
from signaling.hub_carrier import HubCarrier
from signaling.hub_pace import Budget, Turns, pause
from tests.signaling.hub_servers import KINDS, Relay, hub_process, packed, post
from tests.signaling.test_hub_client import EMPTY, STREAM, server

PATIENCE = 20.0
BOX = re.compile(rb'"[A-Za-z0-9+/=]{1366,}"')


@pytest.fixture(scope="module", params=KINDS)
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    """A hub of either kind."""
    with hub_process(request.param) as (_, found):
        yield found


@pytest.fixture(scope="module")
def our_port() -> Iterator[int]:
    with hub_process("ours") as (_, found):
        yield found


@pytest.fixture
def room(request: pytest.FixtureRequest) -> bytes:
    """One a test: they share a hub."""
    return request.node.name.encode().ljust(32, b".")[-32:]


def parcel(number: int = 0, *, fill: bytes = b"p", expires: int = 0) -> Parcel:
    key = b"k" + number.to_bytes(31, "big")
    return Parcel(kind=ParcelKind.OFFER, key=key, payload=fill * 512, expires=expires)


class Clock:
    """The day's, which may be set."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


class Member:
    """One who uses the hub, and all it is told."""

    def __init__(self, port: int, room: bytes) -> None:
        self.faults: Counter[str] = Counter()
        self.told: list[str] = []
        self.clock = Clock()
        context = CarrierContext(faults=self.faults, room=room, tell=self._tell)
        self.carrier = HubCarrier(f"http://127.0.0.1:{port}", context, clock=self.clock)
        self.parcels = self.carrier.parcels()
        self.came: list[Parcel] = []

    def _tell(self, _spec: str, error: SignalError | None) -> None:
        said = "works" if error is None else error.message
        if self.told[-1:] != [said]:
            self.told.append(said)

    async def until(self, *wanted: Parcel) -> None:
        """Read until all these came."""
        with trio.fail_after(PATIENCE):
            while not {each.payload for each in wanted} <= {each.payload for each in self.came}:
                self.came.append(await anext(self.parcels))


@asynccontextmanager
async def member(port: int, room: bytes) -> AsyncIterator[Member]:
    mine = Member(port, room)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mine.carrier.run)
        yield mine
        nursery.cancel_scope.cancel()
    await mine.carrier.aclose()


@asynccontextmanager
async def relay(port: int) -> AsyncIterator[Relay]:
    made = Relay(port)
    async with trio.open_nursery() as nursery:
        await nursery.start(made.run)
        yield made
        nursery.cancel_scope.cancel()


async def until(true: object, *, seconds: float = PATIENCE) -> None:
    """Look again and again."""
    assert callable(true)
    with trio.fail_after(seconds):
        while not true():
            await trio.sleep(0.01)


async def test_a_carrier_without_a_room_is_only_a_spec() -> None:
    carrier = HubCarrier("http://127.0.0.1:9")
    with pytest.raises(CarrierError, match="for a room"):
        await carrier.send(parcel())
    with trio.move_on_after(0.05):
        await carrier.run()
    await carrier.aclose()


async def test_what_nobody_heard_is_said_again_and_what_is_out_when_somebody_calls(
    port: int, room: bytes
) -> None:
    async with relay(port) as deaf, member(port, room) as ann, member(deaf.port, room) as bob:
        lost: list[bytes] = []

        def lose(data: bytes) -> bytes:
            for body in BOX.findall(data):
                if not lost and HubBox(room).open(body) == parcel(1):
                    lost.append(body)
                    return data.replace(body, body[::-1])
            return data

        deaf.down = lose
        await ann.carrier.send(parcel(1))
        await bob.until(parcel(1))
        assert lost
        assert bob.faults["hub: Malformed"] + bob.faults["hub: NotForUs"] == 1
        async with member(port, room) as cal:
            began = trio.current_time()
            await cal.until(parcel(1))
            assert trio.current_time() - began < 0.8, "by its call, not by the next repetition"


async def test_many_who_begin_together_cost_each_of_them_a_few_posts(port: int, room: bytes) -> None:
    count = 10
    async with relay(port) as heard, trio.open_nursery() as nursery:
        members: list[Member] = []
        done = trio.Event()

        async def live(number: int) -> None:
            async with member(heard.port, room) as mine:
                members.append(mine)
                await mine.carrier.send(parcel(number, fill=bytes((number,))))
                await done.wait()

        for number in range(count):
            nursery.start_soon(live, number)
        await until(lambda: len(members) == count)
        everything = [parcel(number, fill=bytes((number,))) for number in range(count)]
        for mine in members:
            others = [
                each for each in everything if each not in [own.parcel for own in mine.carrier._own.values()]
            ]
            await mine.until(*others)
        posts = heard.heard.count(b"POST /v1/")
        assert count * 2 <= posts <= count * 8, "calls, first words, and a few answers: n, not n squared"
        done.set()


async def test_one_who_calls_without_end_is_answered_now_and_then(our_port: int, room: bytes) -> None:
    async with relay(our_port) as cable, member(cable.port, room) as ann:
        await ann.carrier.send(parcel())
        await until(lambda: cable.heard.count(b"POST /v1/") >= 2)  # its call, and the parcel
        for number in range(60):
            body = HubBox(room).call(number.to_bytes(16, "big"))
            await trio.to_thread.run_sync(post, our_port, HubBox(room).channel, body)
        await trio.sleep(0.3)
        assert 4 <= cable.heard.count(b"POST /v1/") <= 12


async def test_who_resumes_hears_what_was_said_meanwhile(our_port: int, room: bytes) -> None:
    async with relay(our_port) as cable, member(cable.port, room) as bob, member(our_port, room) as cal:
        await cal.carrier.send(parcel(1, fill=b"1"))
        await bob.until(parcel(1, fill=b"1"))
        cable.cut()
        async with member(our_port, room) as ann:
            await ann.carrier.send(parcel(2, fill=b"2"))
        await cable.open()
        await bob.until(parcel(2, fill=b"2"))  # though nobody has it any more
        assert b"last-event-id" in bytes(cable.heard).lower()


async def test_a_hub_that_began_anew_and_knows_no_id_of_ours_is_as_good(our_port: int, room: bytes) -> None:
    async with relay(our_port) as cable, member(cable.port, room) as ann, member(cable.port, room) as bob:
        await ann.carrier.send(parcel(1))
        await bob.until(parcel(1))
        with hub_process("ours") as (_, other):
            cable.cut()
            cable.behind = other
            await cable.open()
            await ann.carrier.send(parcel(2, fill=b"2"))
            await bob.until(parcel(2, fill=b"2"))
            async with member(other, room) as cal:
                await cal.until(parcel(1), parcel(2, fill=b"2"))


async def test_a_stream_that_ends_is_dialled_again_without_a_word_and_trouble_is_told_once(
    our_port: int, room: bytes
) -> None:
    async with relay(our_port) as cable, member(cable.port, room) as ann:
        await ann.carrier.send(parcel(1))
        assert ann.told == ["works"]
        cable.cut()
        await cable.open()
        await until(lambda: cable.heard.count(b"GET /v1/") == 2)
        await ann.carrier.send(parcel(2))
        assert ann.told == ["works"]
        cable.cut()
        with pytest.raises(CarrierError, match="Connection refused"):
            await ann.carrier.send(parcel(3))
        await until(lambda: len(ann.told) > 1)
        assert ann.told == ["works", "The hub cannot be reached: Connection refused."]
        await cable.open()
        await ann.carrier.send(parcel(3))
        assert ann.told[2:] == ["works"]


async def test_a_hub_that_ends_every_stream_at_once_is_a_trouble_and_not_dialled_in_a_rush(
    room: bytes,
) -> None:
    async with server(STREAM) as (port, heads), member(port, room) as ann:
        with trio.move_on_after(5):
            await until(lambda: "The hub ends every connection at once." in ann.told)
        assert "The hub ends every connection at once." in ann.told
        assert sum(head.startswith(b"GET") for head in heads) <= 6


async def test_a_stream_that_is_silent_for_too_long_is_dialled_again(
    room: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_client, "SILENCE", 0.2)

    async def silent(stream: trio.abc.Stream) -> None:
        await stream.send_all(STREAM)
        await trio.sleep_forever()

    async with server(silent) as (port, heads), member(port, room):
        await until(lambda: sum(head.startswith(b"GET") for head in heads) >= 2)


async def test_a_machine_that_has_slept_dials_again_at_once(our_port: int, room: bytes) -> None:
    async with relay(our_port) as cable, member(cable.port, room) as ann:
        await ann.carrier.send(parcel(1))
        assert cable.heard.count(b"GET /v1/") == 1
        ann.clock.ahead += 600
        await until(lambda: cable.heard.count(b"GET /v1/") == 2, seconds=3)
        await ann.carrier.send(parcel(2))
        await trio.sleep(1.2)
        assert cable.heard.count(b"GET /v1/") == 2, "once each time it slept"
        assert ann.told == ["works"]


async def test_a_stream_on_which_our_own_words_do_not_return_is_given_up(
    room: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a change of networks: posts go the new way, and the old stream is dead."""
    monkeypatch.setattr(hub_line, "_ECHO", 0.2)
    monkeypatch.setattr(hub_line, "_WATCH", 0.1)

    async def deaf(stream: trio.abc.Stream) -> None:
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        with suppress(trio.BrokenResourceError):
            await stream.receive_some()

    gets = posts = 0

    async def hub(stream: trio.SocketStream) -> None:
        nonlocal gets, posts
        with suppress(trio.BrokenResourceError):
            head = await stream.receive_some()
            if head.startswith(b"GET"):
                gets += 1
                await deaf(stream)
            else:
                posts += 1
                await stream.send_all(EMPTY)

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, hub, 0)
        async with member(listeners[0].socket.getsockname()[1], room) as ann:
            await ann.carrier.send(parcel(1))
            await until(lambda: gets == 2)
            await trio.sleep(0.5)
            assert gets == 2, "not more than once a minute: some hubs hand on to a few only"
            assert posts >= 2
        nursery.cancel_scope.cancel()


async def test_what_is_over_is_not_said_any_more(port: int, room: bytes) -> None:
    async with relay(port) as cable, member(cable.port, room) as ann, member(port, room) as bob:
        await ann.carrier.send(parcel(1, fill=b"1", expires=int(time.time()) + 60))
        await ann.carrier.send(parcel(2, fill=b"2"))
        await bob.until(parcel(1, fill=b"1"), parcel(2, fill=b"2"))
        ann.clock.ahead = 61
        async with member(port, room) as cal:
            await cal.until(parcel(2, fill=b"2"))
            await trio.sleep(0.3)
            assert [each.payload for each in cal.came] == [b"2" * 512] * len(cal.came)


async def test_a_reader_who_does_not_read_loses_nothing_for_good(our_port: int, room: bytes) -> None:
    count = 300
    parcels = [parcel(number, fill=number.to_bytes(2, "big")) for number in range(count)]
    parcels = [Parcel(kind=each.kind, key=each.key, payload=each.payload[:512]) for each in parcels]
    async with member(our_port, room) as ann, member(our_port, room) as bob:
        async with trio.open_nursery() as nursery:
            for each in parcels:
                nursery.start_soon(ann.carrier.send, each)
        await until(lambda: bob.faults["hub: too many at once"] > 0)
        await bob.until(*parcels)


async def test_what_a_stranger_says_in_the_channel_is_counted_and_hides_nothing(
    port: int, room: bytes
) -> None:
    channel = HubBox(room).channel
    async with member(port, room) as ann, member(port, room) as bob:
        await ann.carrier.send(parcel(1))
        for junk in (b"{}", b'"AAAA"', b"x" * 60_000, HubBox(b"s" * 32).parcel(parcel(3)), b"\xff\0", b""):
            await trio.to_thread.run_sync(post, port, channel, junk)
        await ann.carrier.send(parcel(2, fill=b"q"))
        await bob.until(parcel(1), parcel(2, fill=b"q"))
        assert {each.payload for each in bob.came} == {b"p" * 512, b"q" * 512}
        await until(lambda: bob.faults["hub: Malformed"] >= 3)
        assert bob.faults["hub: NotForUs"] == 1
        assert bob.told == ["works"]


async def test_a_hub_that_floods_takes_little_of_the_processor(room: bytes) -> None:
    """One that sends what has the form of a box, as fast as it is taken."""
    event = b"data: " + HubBox(b"another room").parcel(parcel()) + b"\n\n"
    for flood in (event * 40, b"data: x\n\n" * 7000, b":\n" * 30_000, b"\n" * 60_000):
        sent = 0

        async def pour(stream: trio.abc.Stream, flood: bytes = flood) -> None:
            nonlocal sent
            await stream.send_all(STREAM)
            while True:
                await stream.send_all(flood)
                sent += len(flood)

        async with server(pour) as (port, _), member(port, room) as ann:
            await until(lambda: ann.faults["hub: flood"] > 0)
            began, before = time.process_time(), sent
            await trio.sleep(0.7)
            assert time.process_time() - began < 0.35, flood[:12]
            assert sent - before < 8 << 20


async def test_nothing_that_passes_the_hub_shows_what_is_in_it(port: int, room: bytes) -> None:
    secret = Parcel(kind=ParcelKind.ANSWER, key=b"K" * 32, payload=b"ann at 192.168.1.20" * 20)
    async with relay(port) as heard, member(heard.port, room) as ann, member(heard.port, room) as bob:
        await ann.carrier.send(secret)
        await bob.until(secret)
        wire = packed(heard.heard)
    assert wire.count(HubBox(room).channel.encode()) >= 4
    for word in (b"ann at", b"192.168", secret.key, secret.key.hex().encode(), room, room.hex().encode()):
        assert word not in wire


def test_a_budget_is_never_felt_by_the_honest_and_bounds_the_others() -> None:
    budget, now = Budget(now=0.0), 0.0
    honest = b"id: 1-2\ndata: " + b"A" * 1370 + b"\n\n"
    for _ in range(5000):  # thirty that all want each other, in their first second
        assert budget.spend(honest, now=now) == 0
        now += 0.0002
    while budget.spend(b"x" * 60_000, now=now) == 0:
        pass
    waits = [budget.spend(b"x" * (1 << 20), now=now) for _ in range(3)]
    assert waits == sorted(waits)
    assert 2 < waits[-1] < 5
    assert budget.spend(b"\n" * 4096, now=now + 1) > 0
    assert budget.spend(b"x", now=now + 60) == 0


def test_turns_are_quick_at_first_and_rare_when_it_goes_on() -> None:
    turns = Turns()
    taken = [at / 100 for at in range(6000) if turns.take(now=at / 100)]
    assert len(taken) < 6 + 60 / 4 + 2
    assert min(later - one for one, later in itertools.pairwise(taken)) > 0.19
    assert turns.wait(now=60.0) > 0
    assert turns.wait(now=600.0) == 0


def test_who_fails_again_and_again_waits_longer_and_never_in_step() -> None:
    for failures in range(40):
        pauses = {pause(failures) for _ in range(20)}
        assert len(pauses) > 10
        assert max(pauses) <= 10
    assert min(pauses) >= 5
