"""The control socket: all of the interface works through it; a client that misbehaves harms itself only."""

import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import trio
import trio.testing

from node.config import Home, RoomConfig
from node.control import MAX_CLIENTS, RemoteNode, connect_control, serve_control
from node.errors import Exit, NodeError, Unreachable, UsageError
from node.events import FinalEvent, RoomEvent
from node.lock import room_lock
from node.wire import MAX_REQUEST
from tests.node.rooms import DEADLINE, Person


@asynccontextmanager
async def remote(directory: Path) -> AsyncIterator[tuple[Person, RemoteNode]]:
    """A running node of one, and the way to it that other processes have."""
    ann = await Person(directory, "ann").found(rule="ask")
    async with ann.up():
        node = await connect_control(ann.home, ann.room)
        assert node is not None
        yield ann, node


async def raw(person: Person) -> trio.SocketStream:
    return await trio.open_unix_socket(os.fspath(person.home.socket_file(person.room.fingerprint)))


async def test_every_question_is_answered_as_by_the_node_itself(tmp_path: Path) -> None:
    async with remote(tmp_path) as (ann, node):
        said = await node.say("hello ■ \u2028 there")
        assert (await ann.hears("hello ■ \u2028 there")).id == said
        assert await node.room() == await ann.node.room()
        assert await node.status() == await ann.node.status()
        assert await node.who() == await ann.node.who()
        assert (await node.invite()).token.startswith("pigeon:")


async def test_errors_keep_their_words_and_their_exit_code(tmp_path: Path) -> None:
    async with remote(tmp_path) as (ann, node):
        with pytest.raises(NodeError) as near:
            await ann.node.admit("nobody")
        with pytest.raises(NodeError) as far:
            await node.admit("nobody")
        assert (far.value.message, far.value.hint) == (near.value.message, near.value.hint)
        assert far.value.exit_code is near.value.exit_code is Exit.NO
        with pytest.raises(NodeError) as long:
            await node.say("x" * (16 * 1024 + 1))
        assert long.value.exit_code is UsageError.exit_code
        with pytest.raises(UsageError, match="UTF-8"):
            await node.say("\ud800")
        with pytest.raises(UsageError, match="UTF-8"):
            await node.admit("\ud800")
        with pytest.raises(UsageError, match="300000 bytes"):  # more than a request may have
            await node.say("x" * 300_000)


async def test_the_longest_message_fits_however_it_is_escaped(tmp_path: Path) -> None:
    async with remote(tmp_path) as (ann, node):
        text = "\x01" * (16 * 1024)
        await node.say(text)
        await ann.hears(text)


async def test_a_stream_has_the_history_asked_for_and_then_what_comes(tmp_path: Path) -> None:
    async with remote(tmp_path) as (ann, node):
        for text in ("one", "two"):
            await ann.says(text)
        async with node.events(since=1) as events:
            await ann.node.say("three")
            with trio.fail_after(DEADLINE):
                assert isinstance(await anext(events), RoomEvent)
                texts = []
                async for event in events:
                    if isinstance(event, FinalEvent):
                        texts.append(event.text)
                        if len(texts) == 2:
                            break
        assert texts == ["two", "three"]


async def test_a_stream_ends_when_the_node_does(tmp_path: Path) -> None:
    ann = await Person(tmp_path, "ann").found()
    async with trio.open_nursery() as nursery:
        streaming, ended = trio.Event(), trio.Event()

        async def listen(node: RemoteNode) -> None:
            async with node.events() as events:
                async for _ in events:
                    streaming.set()
            ended.set()

        async with ann.up():
            node = await connect_control(ann.home, ann.room)
            assert node is not None
            nursery.start_soon(listen, node)
            await streaming.wait()
        with trio.fail_after(DEADLINE):
            await ended.wait()
    with pytest.raises(Unreachable):
        await node.room()


async def test_without_a_running_node_there_is_nothing_to_connect_to(tmp_path: Path) -> None:
    ann = await Person(tmp_path, "ann").found()
    assert await connect_control(ann.home, ann.room) is None
    socket = ann.home.socket_file(ann.room.fingerprint)
    socket.touch()  # left by a process that was killed
    assert await connect_control(ann.home, ann.room) is None
    async with ann.up():
        assert await connect_control(ann.home, ann.room) is not None


async def test_a_process_that_has_the_room_and_does_not_answer_is_named(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    home = Home.at(tmp_path)
    room = RoomConfig(name="r", fingerprint="ab" * 32, nick="ann", via=())
    with room_lock(home, room.fingerprint), pytest.raises(Unreachable, match=f"{os.getpid()}"):
        await connect_control(home, room)


async def test_sockets_that_are_made_at_once_leave_the_process_as_it_was(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        async with remote(tmp_path) as (ann, _), trio.open_nursery() as nursery:
            paths = [ann.home.socket_file(f"{number:064x}") for number in range(20)]
            async with trio.open_nursery() as starting:
                for path in paths:
                    starting.start_soon(nursery.start, serve_control, ann.node, path)
            assert {stat.S_IMODE(path.stat().st_mode) for path in paths} == {0o600}
            nursery.cancel_scope.cancel()
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)


async def test_only_its_owner_can_use_the_socket(tmp_path: Path) -> None:
    async with remote(tmp_path) as (ann, _):
        path = ann.home.socket_file(ann.room.fingerprint)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    "line",
    [
        b"hello\n",
        b"\n",
        b"\xff\xfe\n",
        b'{"call": "destroy"}\n',
        b'{"call": "say"}\n',
        b'{"call": "say", "text": 7}\n',
        b'{"call": "room", "more": 1}\n',
        b'{"call": "room", "v": 2}\n',
        b"[" * 10_000 + b"\n",
        b'{"more": ' + b"[" * 20_000 + b"\n",
        b'{"call": "events", "since": -1}\n',
        b'{"call": "events", "since": -1180591620717411303424}\n',
    ],
)
async def test_what_is_not_understood_is_answered_with_an_error(tmp_path: Path, line: bytes) -> None:
    async with remote(tmp_path) as (ann, _):
        async with await raw(ann) as stream:
            await stream.send_all(line)
            with trio.fail_after(DEADLINE):
                answer = await stream.receive_some()
            assert b'"error"' in answer
            assert b"not understood" in answer
        await ann.says("nothing happened")


@pytest.mark.parametrize(
    "answer",
    [b"hello\n", b"{}\n", b'{"ok": 7}\n', b'{"x": ' + b"[" * 20_000 + b"\n", b"\xff\n", b"x" * (5 << 20)],
)
async def test_a_node_that_answers_nonsense_is_said_in_words(tmp_path: Path, answer: bytes) -> None:
    """It may have been started with another version."""
    path = os.fspath(tmp_path / "socket")

    async def say(stream: trio.SocketStream) -> None:
        async with stream:
            with suppress(trio.BrokenResourceError):
                await stream.receive_some()
                await stream.send_all(answer + answer)

    with trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_STREAM) as listener:
        await listener.bind(path)
        listener.listen()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.serve_listeners, say, [trio.SocketListener(listener)])
            node = RemoteNode(Path(path))
            with pytest.raises(Unreachable, match="not understood"):
                await node.status()
            with pytest.raises(Unreachable, match="not understood"):
                async with node.events(since=0) as events:
                    await anext(events)
                    await anext(events)
            nursery.cancel_scope.cancel()


async def test_an_endless_line_ends_that_connection_only(tmp_path: Path) -> None:
    async with remote(tmp_path) as (ann, node):
        async with await raw(ann) as stream:
            with trio.fail_after(DEADLINE), pytest.raises(trio.BrokenResourceError):
                for _ in range(MAX_REQUEST // 4096 + 64):
                    await stream.send_all(b"x" * 4096)
        assert (await node.room()).n == 1


async def test_more_clients_than_there_is_room_for_are_turned_away(tmp_path: Path) -> None:
    async with remote(tmp_path) as (ann, node):
        streams = [await raw(ann) for _ in range(MAX_CLIENTS)]
        await trio.testing.wait_all_tasks_blocked(0.05)
        one_more = await raw(ann)
        with trio.fail_after(DEADLINE):
            assert await one_more.receive_some() == b""
        for stream in (*streams, one_more):
            await stream.aclose()
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert (await node.room()).n == 1


async def test_a_client_that_hangs_up_in_the_middle_is_forgotten(tmp_path: Path) -> None:
    async with remote(tmp_path) as (ann, _):
        bus = ann.node._bus
        before = bus.subscribers
        stream = await raw(ann)
        await stream.send_all(b'{"call": "events"}\n{"call"')
        await stream.receive_some()
        await stream.aclose()
        with trio.fail_after(DEADLINE):
            while bus.subscribers > before:
                await trio.testing.wait_all_tasks_blocked(0.01)
        await ann.says("and on")


async def test_a_client_that_is_gone_before_it_is_answered_harms_nobody(tmp_path: Path) -> None:
    async with remote(tmp_path) as (ann, _):
        for call in (b'{"call": "events"}\n', b'{"call": "status"}\n', b'{"call": "no such"}\n'):
            for _ in range(5):
                stream = await raw(ann)
                await stream.send_all(call)
                await stream.aclose()
        await trio.testing.wait_all_tasks_blocked(0.05)
        await ann.says("and on")


async def test_a_client_that_reads_nothing_does_not_hold_up_the_room(tmp_path: Path) -> None:
    async with remote(tmp_path) as (ann, node), await raw(ann) as stream:
        await stream.send_all(b'{"call": "events"}\n')
        for number in range(40):
            await ann.says(f"{number} " + "x" * 16_000)
        assert (await node.status()).pending == 0
