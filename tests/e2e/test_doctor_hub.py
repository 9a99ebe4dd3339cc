"""`pigeon doctor --via hub:URL`, against real hubs, relays that do harm, and what is no hub at all."""

import re
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import pytest
import trio

from tests.e2e.examined import examine
from tests.signaling.hub_servers import KINDS, Relay, hub_process


async def _says(text: bytes, stream: trio.SocketStream) -> None:
    async with stream:
        await stream.receive_some(4096)
        await stream.send_all(text)


async def _silent(stream: trio.SocketStream) -> None:
    async with stream:
        await trio.sleep_forever()


def _response(status: str, *head: str, body: str = "") -> bytes:
    lines = [f"HTTP/1.1 {status}", *head, f"Content-Length: {len(body)}", "Connection: close", "", body]
    return "\r\n".join(lines).encode()


def _years_back(data: bytes) -> bytes:
    return re.sub(rb"(Date: \w+, \d\d \w+) \d{4}", rb"\1 2019", data, flags=re.IGNORECASE)


def _holds_events_back(data: bytes) -> bytes:
    return data if data.startswith(b"HTTP/1.1") else b""


STRANGERS: list[tuple[Callable[[trio.SocketStream], Awaitable[None]], tuple[str, ...]]] = [
    (partial(_says, _response("200 OK", "Content-Type: text/html", body="<p>hello")), ("no hub", "the path")),
    (partial(_says, _response("404 Not Found")), ("no hub at this address", "Check the address")),
    (
        partial(_says, _response("302 Found", "Location: http://elsewhere.invalid/")),
        ("leads elsewhere", "the hub's own address"),
    ),
    (partial(_says, _response("503 Service Unavailable")), ("busy", "503")),
    (partial(_says, b"220 mail.example ESMTP\r\n"), ("what answers there is none", "Check its address")),
    (_silent, ("does not answer", "Check its address")),
]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_hub_that_works_and_each_way_in_which_a_proxy_spoils_it(tmp_path: Path, kind: str) -> None:
    with hub_process(kind) as (_, port):
        late, stuck, dead = (
            Relay(behind=port, down=_years_back),
            Relay(behind=port, down=_holds_events_back),
            Relay(behind=port),
        )
        async with trio.open_nursery() as nursery:
            for relay in (late, stuck, dead):
                await nursery.start(relay.run)
            dead.cut()
            hubs: dict[str, tuple[str, ...]] = {
                f"hub:http://127.0.0.1:{late.port}": ("warning", "behind ours", "Set this machine's clock"),
                f"hub:http://127.0.0.1:{port}": ("ok", "was heard after"),
                f"hub:http://127.0.0.1:{stuck.port}": (
                    "problem",
                    "nobody hears it",
                    "proxy",
                    "proxy_buffering",
                ),
                f"hub:http://127.0.0.1:{dead.port}": ("problem", "Connection refused", "pigeon hub"),
                f"hub:https://127.0.0.1:{port}": ("problem", "TLS", "Check https: or http:"),
            }
            via = [part for spec in hubs for part in ("--via", spec)]
            seen = await examine("--home", str(tmp_path / "home"), *via)
            assert seen.code == 1
            for spec, (state, *texts) in hubs.items():
                seen.says(spec, state, *texts)
            nursery.cancel_scope.cancel()


async def test_what_is_no_hub_is_told_from_one_that_is_away_or_busy(tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        ports: list[int] = []
        for handler, _ in STRANGERS:
            listeners = await nursery.start(partial(trio.serve_tcp, handler, 0, host="127.0.0.1"))
            ports.append(listeners[0].socket.getsockname()[1])
        specs = [f"hub:http://127.0.0.1:{port}" for port in ports]
        via = [part for spec in [*specs, "hub:http://hub.invalid"] for part in ("--via", spec)]
        seen = await examine("--home", str(tmp_path / "home"), *via)
        for spec, (_, texts) in zip(specs, STRANGERS, strict=True):
            seen.says(spec, "problem", *texts)
        seen.says("hub:http://hub.invalid", "problem", "name is not known")
        assert (seen.code, seen.seconds < 12) == (1, True)
        nursery.cancel_scope.cancel()
