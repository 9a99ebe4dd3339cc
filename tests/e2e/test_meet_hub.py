"""What a hub can do to those who meet there, and what it learns of them: it is stood in for by a relay."""

import base64
import ipaddress
import re
from pathlib import Path

import trio

from console.children import Child
from tests.e2e.homes import PATIENCE
from tests.e2e.test_meet import in_a_room, in_room, strangers
from tests.signaling.hub_servers import Relay, packed

_SIGNAL = re.compile(rb'"SIGNAL":"([A-Za-z0-9+/=]+)"')


async def test_a_hub_that_swaps_signals_gets_no_session_and_an_honest_one_does(tmp_path: Path) -> None:
    async with strangers(tmp_path) as all_, trio.open_nursery() as nursery:
        numbers = {"hold": "1", "connect-every": "0", "request-every": "0", "pair-memory": "0"}
        await all_.open_hub(*(word for name in numbers for word in (f"--meet-{name}", numbers[name])))
        relay = Relay(int(all_.url.rpartition(":")[2]))
        first: list[bytes] = []
        swapped = 0

        def hear(data: bytes) -> bytes:
            first.extend(_SIGNAL.findall(data) if not first else ())
            return data

        def swap(data: bytes) -> bytes:
            """Whoever is demoted is handed what eve said, in another namespace."""
            nonlocal swapped
            found = _SIGNAL.search(data)
            if b'"DEMOTE"' not in data or found is None:
                return data
            swapped += 1
            return data.replace(found[1], first[0])

        relay.up, relay.down = hear, swap
        await nursery.start(relay.run)
        all_.url = f"http://127.0.0.1:{relay.port}"
        await all_.start("eve", namespace="coffee")
        await all_.wait_until(lambda: first)
        ann, bob = await all_.start("ann"), await all_.start("bob")
        await all_.wait_until(lambda: swapped >= 3)
        assert not in_room(ann)
        assert not in_room(bob)
        relay.down = bytes
        rooms = await in_a_room(ann, bob)
        assert len(rooms) == 1
        nursery.cancel_scope.cancel()


async def test_the_hub_learns_neither_names_nor_addresses_nor_who_they_are(tmp_path: Path) -> None:
    async with strangers(tmp_path) as all_, trio.open_nursery() as nursery:
        await all_.open_hub()
        relay = Relay(int(all_.url.rpartition(":")[2]))
        await nursery.start(relay.run)
        all_.url = f"http://127.0.0.1:{relay.port}"
        ann, bob = await all_.start("annabella"), await all_.start("bobadilla")
        await in_a_room(ann, bob)
        await ann.say("a secret word")
        await bob.wait_for("final", within=PATIENCE, where=lambda event: event["text"] == "a secret word")
        nursery.cancel_scope.cancel()
        heard = packed(bytes(relay.heard))
        assert heard.count(b"DEMOTE") >= 1, "the capture is one"
        for secret in (*secrets_of(ann), *secrets_of(bob), *addresses(), b"tea at five", b"a secret word"):
            assert secret not in heard, secret
        posted = [base64.b64decode(each) for each in _SIGNAL.findall(bytes(relay.heard))]
        assert {len(each) for each in posted} == {512}, "nor by their sizes whose is which"


def secrets_of(child: Child) -> list[bytes]:
    room = next(event for event in child.events if event["event"] == "room")
    ids = [room["me"], room["fingerprint"]]
    return [child.name.encode(), *(each.encode() for each in ids), *map(bytes.fromhex, ids)]


def addresses() -> list[bytes]:
    """Of this machine, as text and as four bytes; not those that everybody has."""
    text = Path("/proc/net/fib_trie").read_text()
    found = set(re.findall(r"\|-- ([0-9.]+)\n\s+/32 host LOCAL", text))
    ours = [each for each in found if not ipaddress.ip_address(each).is_loopback]
    return [form for each in ours for form in (each.encode(), ipaddress.ip_address(each).packed)]
