"""Subscribers that do not keep up: what waits for them is bounded, and a few do not crowd out the others."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
import trio

from signaling.hub.stream import Backlogs, Stream

MOST = 800_000


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as sockets:
        yield sockets


def subscriber(stack: ExitStack, backlogs: Backlogs, nursery: trio.Nursery) -> tuple[Stream, socket.socket]:
    """A stream whose socket takes little, and its far end, which reads only what a test reads."""
    near, far = (stack.enter_context(each) for each in socket.socketpair())
    near.setblocking(False)
    near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    return Stream(near, max_backlog=250_000, backlogs=backlogs, nursery=nursery), far


async def test_a_few_who_read_nothing_do_not_have_the_others_cut_off(stack: ExitStack) -> None:
    backlogs = Backlogs(MOST)
    async with trio.open_nursery() as nursery:
        hogs = [subscriber(stack, backlogs, nursery)[0] for _ in range(4)]
        for hog in hogs:
            for _ in range(24):
                hog.write(b"x" * 8192)
        honest, far = subscriber(stack, backlogs, nursery)
        assert not any(hog.gone for hog in hogs) and backlogs.used < MOST < backlogs.used + 50_000
        for _ in range(10):
            honest.write(b"y" * 8192)
        assert not honest.gone and any(hog.too_slow for hog in hogs)
        got = 0
        while got < 81_920:
            got += len(await trio.to_thread.run_sync(far.recv, 65536))
            assert backlogs.used <= MOST
        for each in (*hogs, honest):
            each.cut()
        assert backlogs.used == 0
        nursery.cancel_scope.cancel()


async def test_whatever_is_written_all_together_have_no_more_than_allowed(stack: ExitStack) -> None:
    backlogs = Backlogs(MOST)
    async with trio.open_nursery() as nursery:
        many = [subscriber(stack, backlogs, nursery)[0] for _ in range(16)]
        for _ in range(64):
            for each in many:
                each.write(b"x" * 5000)
                assert sum(one.waiting for one in many) == backlogs.used <= MOST
        assert all(each.too_slow for each in many), "nobody reads"
        assert backlogs.used == 0
        nursery.cancel_scope.cancel()
