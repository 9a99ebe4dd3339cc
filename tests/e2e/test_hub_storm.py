"""A hub among clients that send anything, break off anywhere and never read: it works on for the others."""

import random
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from console.children import Child, family
from tests.signaling.hub.smuggling import ACCEPTED, REFUSED

PATIENCE = 30.0
ATTACKERS = 16
ROUNDS = 60
MOST_GROWTH = 48 << 20
ENOUGH = ("--rate", "0", "--max-connections-each", "2000", "--meet-hold", "1")
AT_ONCE = struct.pack("ii", 1, 0)  # closing resets the connection

SUBSCRIBE = b"GET /v1/app/channel HTTP/1.1\r\nHost: hub\r\n\r\n"
FLOOD = b"POST /v1/app/channel HTTP/1.1\r\nHost: hub\r\nContent-Length: 60000\r\n\r\n" + b"f" * 60000
MEET = b"POST /v1/meet HTTP/1.1\r\nHost: hub\r\nContent-Length: 54\r\n\r\n"
BODIES = (
    b'{"TYPE": "CONNECT", "NAMESPACE": "n", "SIGNAL": "abcd"}',
    b"[" * 54,
    b"\xff" * 54,
    b'{"TYPE":' + b" " * 46,
)


def said_by(dice: random.Random) -> bytes:
    """Requests good and bad, harmed, cut or endless."""
    good = dice.choice((b"", SUBSCRIBE, FLOOD, FLOOD * 3, MEET + dice.choice(BODIES)))
    data = bytearray(good + b"".join(dice.choices([*ACCEPTED.values(), *REFUSED.values()], k=2)))
    for _ in range(dice.randrange(4)):
        at = dice.randrange(len(data))
        match dice.randrange(4):
            case 0:
                data[at] = dice.randrange(256)
            case 1:
                del data[at : at + dice.randrange(1, 40)]
            case 2:
                data[at:at] = dice.randbytes(dice.randrange(1, 40))
            case 3:
                data[at:at] = data[at : at + 20] * dice.randrange(1, 2000)
        if not data:
            break
    return bytes(data)


async def attack(port: int, seed: int) -> None:
    dice = random.Random(seed)
    for _ in range(ROUNDS):
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        try:
            with trio.move_on_after(dice.choice((0.01, 0.05, 0.2))):
                data = said_by(dice)
                step = dice.choice((1, 100, 10_000, len(data) + 1))
                for at in range(0, min(len(data), step * 200), step):
                    await stream.send_all(data[at : at + step])
                if dice.random() < 0.3:
                    await stream.send_eof()
                if dice.random() < 0.5:
                    while await stream.receive_some():
                        pass
            if dice.random() < 0.3:
                stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
        except trio.BrokenResourceError:
            pass
        finally:
            stream.socket.close()


@asynccontextmanager
async def listener(port: int) -> AsyncIterator[trio.SocketStream]:
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(b"GET /v1/quiet/channel HTTP/1.1\r\nHost: hub\r\n\r\n")
        said = b""
        while b"\nid: " not in said:  # from here on it is subscribed
            said += await stream.receive_some()
        yield stream


async def status_of(port: int, request: bytes) -> bytes:
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(request)
        said = b""
        while data := await stream.receive_some():
            said += data
        return said


def resident(hub: Child) -> int:
    status = Path(f"/proc/{hub.process.pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024


async def test_it_takes_everything_and_works_for_the_others_meanwhile() -> None:
    async with family() as children:
        hub = await children.start("hub", "hub", "--json", "--listen", "127.0.0.1:0", *ENOUGH)
        url = (await hub.wait_for("hub", within=PATIENCE))["url"]
        port = int(url.rpartition(":")[2])
        before = resident(hub)
        with trio.fail_after(3 * PATIENCE):
            async with listener(port) as listening, trio.open_nursery() as nursery:
                heard = b""

                async def listen() -> None:
                    nonlocal heard
                    while heard.count(b"\ndata: still here ") < 30:
                        data = await listening.receive_some()
                        assert data, "a quiet subscriber was cut off"
                        heard += data

                nursery.start_soon(listen)
                for seed in range(ATTACKERS):
                    nursery.start_soon(attack, port, seed)
                for number in range(30):
                    body = b"still here %02d" % number
                    head = b"POST /v1/quiet/channel HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n"
                    answer = await status_of(port, head + b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
                    assert answer.startswith(b"HTTP/1.1 200 ")
                    await trio.sleep(0.05)
            numbers = [line[-2:] for line in heard.split(b"\n") if line.startswith(b"data: still here ")]
            assert numbers == [b"%02d" % number for number in range(30)]
            get = b"GET /metrics HTTP/1.1\r\nHost: hub\r\nConnection: close\r\n\r\n"
            metrics = (await status_of(port, get)).decode()
        assert "\npigeon_hub_faults_total 0\n" in metrics
        assert counted(metrics, "refused_total") > 100 and counted(metrics, "published_total") > 100
        assert counted(metrics, "turned_away_total") == 0
        assert resident(hub) - before < MOST_GROWTH
        await hub.stop()
        assert hub.process.returncode == 143 and hub.complaints == b""


def counted(metrics: str, name: str) -> float:
    (line,) = (line for line in metrics.splitlines() if line.startswith(f"pigeon_hub_{name} "))
    return float(line.split()[1])
