"""Two real hubs over one real Redis behave as one; either may die, and Redis may come and go."""

import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import trio

from console.children import Child, Family, family, output_of
from tests.e2e.homes import PATIENCE, Homes, one_log
from tests.e2e.redis import RedisServer, needs_redis, redis_server
from tests.e2e.test_hub_signalhub import broadcast, client, messages
from tests.e2e.test_hub_signalhub import pytestmark as needs_signalhub

pytestmark = needs_redis

# All clients of a test have one address.
FREELY = ("--meet-request-every", "0", "--meet-connect-every", "0")


class Hub:
    """A hub's process, and what one asks it."""

    def __init__(self, child: Child, url: str) -> None:
        self.child = child
        self.url = url

    async def status(self, path: str = "/healthz", *, body: bytes | None = None) -> int:
        return (await self.ask(path, body=body)).status_code

    async def ask(self, path: str, *, body: bytes | None = None) -> httpx.Response:
        async with httpx.AsyncClient(base_url=self.url, timeout=PATIENCE) as client:
            return await (client.get(path) if body is None else client.post(path, content=body))

    async def kill(self) -> None:
        self.child.process.kill()
        await self.child.wait(within=PATIENCE)

    @asynccontextmanager
    async def subscribed(self, channel: str, last: str = "") -> AsyncIterator["Subscriber"]:
        where = urlsplit(self.url)
        assert where.hostname and where.port
        async with await trio.open_tcp_stream(where.hostname, where.port) as stream:
            resume = f"Last-Event-ID: {last}\r\n" if last else ""
            await stream.send_all(f"GET /v1/app/{channel} HTTP/1.1\r\nHost: hub\r\n{resume}\r\n".encode())
            subscriber = Subscriber(stream)
            await subscriber.until(b"\r\n\r\n")
            if not last:
                await subscriber.next()  # the id that says where
            yield subscriber


class Subscriber:
    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._said = b""
        self.last = ""
        """The id of the last event."""

    async def until(self, end: bytes) -> bytes:
        with trio.fail_after(PATIENCE):
            while end not in self._said:
                data = await self._stream.receive_some()
                assert data, "the hub ended the stream"
                self._said += data
        found, _, self._said = self._said.partition(end)
        return found

    async def next(self) -> str:
        """What the next event says."""
        while True:
            fields = dict(
                line.split(": ", 1)
                for line in (await self.until(b"\n\n")).decode().split("\n")
                if ": " in line
            )
            if "id" in fields:
                self.last = fields["id"]
                return fields.get("data", "")


@asynccontextmanager
async def two_hubs(folder: Path) -> AsyncIterator[tuple[RedisServer, Family, Hub, Hub]]:
    async with redis_server(folder) as redis, family() as children:
        hubs = []
        for name in ("one", "two"):
            child = await children.start(
                name, "hub", "--listen", "127.0.0.1:0", "--redis", redis.url, "--json", *FREELY
            )
            event = await child.wait_for("hub", within=PATIENCE)
            hubs.append(Hub(child, str(event["url"]).rstrip("/")))
        yield redis, children, hubs[0], hubs[1]


async def _until_healthy(hub: Hub, *, status: int = 200) -> None:
    with trio.fail_after(PATIENCE):
        while await hub.status() != status:
            await trio.sleep(0.05)


async def test_what_is_posted_at_one_hub_is_heard_at_the_other_and_resumed_there_when_one_dies(
    tmp_path: Path,
) -> None:
    async with two_hubs(tmp_path) as (_, _, one, two):
        async with one.subscribed("tea") as at_one, two.subscribed("tea,beer") as at_two:
            assert await one.status("/v1/app/tea", body=b"from one") == 200
            assert await two.status("/v1/app/tea", body=b"from two") == 200
            assert await two.status("/v1/app/beer", body=b"another") == 200
            assert [await at_one.next() for _ in range(2)] == ["from one", "from two"]
            last = at_one.last
            assert [await at_two.next() for _ in range(3)] == ["from one", "from two", "another"]
            await one.kill()
            assert await two.status("/v1/app/tea", body=b"without one") == 200
            assert await at_two.next() == "without one"
        async with two.subscribed("tea", last=last) as resumed:
            assert await resumed.next() == "without one"
            assert await two.status("/v1/app/tea", body=b"more") == 200
            assert await resumed.next() == "more"


@needs_signalhub
async def test_clients_of_signalhub_do_not_notice_that_they_use_two_hubs(tmp_path: Path) -> None:
    async with two_hubs(tmp_path) as (_, children, one, two):
        ann = await client(children, "ann", one.url, "tea", "beer")
        bob = await client(children, "bob", two.url, "tea")
        await broadcast(ann, "tea", {"from": "ann"})
        await broadcast(bob, "beer", "for ann alone")
        await broadcast(bob, "tea", ["from", "bob"])
        assert await messages(ann, 3) == [{"from": "ann"}, "for ann alone", ["from", "bob"]]
        assert await messages(bob, 2) == [{"from": "ann"}, ["from", "bob"]]


async def test_without_redis_hubs_say_so_and_keep_their_subscribers_until_it_is_back(tmp_path: Path) -> None:
    async with two_hubs(tmp_path) as (redis, _, one, two), one.subscribed("tea") as subscriber:
        assert await two.status() == 200
        redis.kill()
        await _until_healthy(one, status=503)
        for path, body in (("/v1/app/tea", b"lost"), ("/v1/app/tea", None), ("/v1/meet", b"{}")):
            answer = await one.ask(path, body=body)
            assert answer.status_code == 503
            assert answer.text.count(".") == 2, "what happened, and what to do"
        metrics = (await one.ask("/metrics")).text
        assert "\npigeon_hub_subscribers 1" in metrics
        assert "pigeon_hub_store_away_total" in metrics
        await redis.start()
        await _until_healthy(one)
        await _until_healthy(two)
        assert await two.status("/v1/app/tea", body=b"back") == 200
        assert await subscriber.next() == "back"
        assert b"is lost" in one.child.complaints
        assert b"is back" in one.child.complaints


async def test_strangers_meet_who_ask_different_hubs(tmp_path: Path) -> None:
    async with two_hubs(tmp_path) as (_, children, one, two):
        homes = Homes(children, tmp_path)
        namespace = ("--namespace", "a place for tea")
        for name, hub in (("ann", one), ("bob", two)):
            await homes.start(name, "meet", "--hub", hub.url, *namespace, "--as", name)
        await homes.all_have(2)
        await homes.nodes["ann"].say("across")
        await homes.everyone_sees({"across"})


async def test_who_was_held_at_a_hub_that_died_is_in_nobodys_way(tmp_path: Path) -> None:
    async with two_hubs(tmp_path) as (redis, _, one, two), trio.open_nursery() as nursery:

        async def ask(hub: Hub, who: str, signal: str, nonce: str | None = None) -> dict[str, str]:
            body = {"TYPE": "CONNECT", "NAMESPACE": "tea", "SIGNAL": signal}
            body |= {} if nonce is None else {"NONCE": nonce}
            async with httpx.AsyncClient(headers={"User-Agent": who}, timeout=PATIENCE) as client:
                reply = await client.post(f"{hub.url}/v1/meet", content=json.dumps(body))
            return dict(reply.json())

        replies: dict[str, dict[str, str]] = {}

        async def held(who: str, signal: str, nonce: str | None = None) -> None:
            replies[who] = await ask(two, who, signal, nonce)

        async def until_queue(right: Callable[[str], bool]) -> None:
            with trio.fail_after(PATIENCE):
                while True:
                    keys = (await redis.say("keys", "pigeon:1:queue:*")).split()
                    if len(keys) == 1 and right(await redis.say("get", keys[0])):
                        return
                    await trio.sleep(0.02)

        async def ask_and_be_cut_off() -> None:
            with pytest.raises(httpx.TransportError):
                await ask(one, "ann", "offer of ann")

        nursery.start_soon(ask_and_be_cut_off)
        await until_queue(lambda queue: "offer of ann" in queue)
        await one.kill()
        # Bob is handed her offer still. His answer finds nobody: he waits, and Cal's offer comes to him.
        demoted = await ask(two, "bob", "offer of bob")
        assert (demoted["TYPE"], demoted["SIGNAL"]) == ("DEMOTE", "offer of ann")
        nursery.start_soon(held, "bob", "answer to ann", demoted["NONCE"])
        await until_queue(lambda queue: bool(queue) and "offer of ann" not in queue)
        nursery.start_soon(held, "cal", "offer of cal")
        with trio.fail_after(PATIENCE):
            while "bob" not in replies:
                await trio.sleep(0.02)
            assert (replies["bob"]["TYPE"], replies["bob"]["SIGNAL"]) == ("DEMOTE", "offer of cal")
            delivered = await ask(two, "bob", "answer to cal", replies["bob"]["NONCE"])
            assert delivered["TYPE"] == "DELIVERED"
            while "cal" not in replies:
                await trio.sleep(0.02)
        assert (replies["cal"]["TYPE"], replies["cal"]["SIGNAL"]) == ("ANSWER", "answer to cal")


async def test_a_room_grows_over_two_hubs_and_on_over_the_one_that_is_left(tmp_path: Path) -> None:
    async with two_hubs(tmp_path) as (redis, children, one, two):
        homes = Homes(children, tmp_path, carrier=f"hub:{one.url}")
        token = await homes.found("--via", f"hub:{two.url}")
        await homes.start("bob", "join", token, "--as", "bob", "--via", f"hub:{two.url}")
        await homes.all_have(2)
        await one.kill()
        await homes.nodes["ann"].say("the hub is gone")
        await homes.everyone_sees({"the hub is gone"})
        await homes.start("cal", "join", await homes.invite("bob"), "--as", "cal")
        await homes.all_have(3)
        redis.kill()  # and with it the way to anybody new
        await homes.nodes["cal"].say("so is Redis")
        await homes.everyone_sees({"so is Redis"})
        texts = [event["text"] for event in await one_log(homes, ("ann", "bob", "cal"))]
        assert texts == ["the hub is gone", "so is Redis"]


async def _run(program: str) -> tuple[int, str, str]:
    """Some lines of Python in a process of its own: exit code, standard output, standard error."""
    done = await trio.run_process(
        [sys.executable, "-c", program], capture_stdout=True, capture_stderr=True, check=False
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()


async def test_a_hub_without_the_library_says_what_to_install() -> None:
    arguments = ["pigeon", "hub", "--listen", "127.0.0.1:0", "--redis", "redis://localhost"]
    code, output, complaints = await _run(
        f"import sys; sys.modules['coredis'] = None; sys.argv = {arguments}; import cli; cli.main()"
    )
    assert (code, output) == (2, "")
    assert "pip install 'pigeon[redis]'" in complaints
    assert len(complaints.splitlines()) == 2


async def test_a_hub_that_shares_nothing_does_not_load_the_library() -> None:
    loaded = "import sys, console.hub, signaling.hub.hub; print('coredis' in sys.modules)"
    assert await _run(loaded) == (0, "False\n", "")


@pytest.mark.parametrize("wrong", ["unix:///nobody/listens/here.sock", "http://secret@localhost"])
async def test_a_hub_that_cannot_use_its_redis_says_what_to_do_instead_of_starting(wrong: str) -> None:
    code, output, complaints = await output_of("hub", "--listen", "127.0.0.1:0", "--redis", wrong)
    assert code == (4 if wrong.startswith("unix") else 2)
    assert not output
    assert b"secret" not in complaints
    assert len(complaints.splitlines()) == 2
