"""Names of servers that nobody resolves: what they may keep busy, and for how long."""

import socket
import threading
from typing import Any

import pytest
import trio

from node.ice_lookup import Lookup
from node.ice_servers import IceServers, Server


async def test_a_resolver_that_hangs_takes_no_thread_from_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()

    def hang(*_arguments: Any, **_named: Any) -> Any:
        ended.wait(20)
        raise OSError

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    monkeypatch.setattr("node.ice_lookup._DEADLINE", 0.1)
    lookup = Lookup()
    ice = IceServers(stun=(Server("one.invalid"), Server("two.invalid")))
    try:
        for _ in range(30):
            found = await lookup.find(ice)
            assert [each.error for each in found.wrong] == ["unresolved", "unresolved"]
        assert trio.to_thread.current_default_thread_limiter().borrowed_tokens == 0
    finally:
        ended.set()
