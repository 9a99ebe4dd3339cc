"""What datagrams reach: STUN of whoever knows the port, and the DTLS session that opens a connection.

The parts are those of node/webrtc_connection.py with its mends, put together as it puts them together, over
a transport that sends nowhere. Whatever DTLS raises ends that one connection, so it counts as a refusal; what
counts as a fault is an input that takes long, takes memory, or leaves more behind than the bounds allow.
"""

import asyncio
import atexit
import binascii
import hashlib
import hmac
import random
import struct
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from functools import cache, partial
from typing import Any

import aioice.ice
import aioice.stun

from node import webrtc_guards
from node.webrtc_guards import aiortc_parts, guard_ice
from tests.fuzz.decoder import Decoder, Feed, Refused
from tests.fuzz.forms import BINARY, Form, Part, words
from tests.fuzz.mutate import Finish

LIFE = 50


@cache
def event_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda _loop, _context: None)  # as node/webrtc.py: counted, and no more
    atexit.register(loop.close)
    return loop


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return event_loop().run_until_complete(coroutine)


async def let_go() -> None:
    """Nothing of a former life goes on."""
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def lengths_walk(data: bytes, at: int, *, counts_itself: bool) -> list[Part]:
    """Attributes or chunks: two bytes of kind, two of length, and padding to four."""
    found = []
    while at + 4 <= len(data):
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        end = at + max(4, length if counts_itself else 4 + length)
        found += [(at, min(end + -end % 4, len(data))), (at + 2, at + 4), (at, at + 2)] * 4
        at = end + -end % 4
    return found


# STUN

_LOCAL, _REMOTE, PASSWORD = "localufr", "remotefr", "p" * 24
STUN = Form(
    "STUN",
    lambda data: [*words(data), *lengths_walk(data, 20, counts_itself=False)],
    (
        *BINARY.odd, b"\x00\x24\x00\x03abc\x00", b"\x00\x24\x00\x00", b"\x00\x06\x00\x02\xff\xfe\x00\x00",
        b"\x00\x20\x00\x08\x00\x02aaaaaa", b"\x00\x20\xff\xff", b"\x80\x28\x00\x04aaaa",
        b"\x00\x09\x00\x01x\x00\x00\x00",
        b"\x80\x2a\x00\x08" + b"\xff" * 8, b"\x00\x25\x00\x00" * 40, b"\x00\x06\x02\x00" + b"x" * 512,
    ),
    BINARY.rewrite,
)  # fmt: skip


class _Nowhere:
    """A datagram transport that sends nothing."""

    def sendto(self, data: bytes, address: tuple[str, int]) -> None:
        pass

    def close(self) -> None:
        pass


def _stun_samples() -> list[bytes]:
    method, request = aioice.stun.Method.BINDING, aioice.stun.Class.REQUEST
    plain = {"USERNAME": f"{_LOCAL}:{_REMOTE}", "PRIORITY": 1853824767, "ICE-CONTROLLING": 2**60}
    made = []
    for attributes in (plain, {**plain, "USE-CANDIDATE": None}, {**plain, "SOFTWARE": "x" * 30}):
        message = aioice.stun.Message(method, request, transaction_id=b"t" * 12, attributes=dict(attributes))
        made.append(bytes(message))
    return made


def authenticate(data: bytes, dice: random.Random) -> bytes:
    """With MESSAGE-INTEGRITY under the right password and FINGERPRINT, as a peer could send it."""
    if len(data) < 20 or dice.random() < 0.1:
        return data
    for kind in (8, 0x8028):
        length = len(data) - 20 + (24 if kind == 8 else 8)
        told = data[:2] + (length % 2**16).to_bytes(2, "big") + data[4:]
        if kind == 8:
            digest = hmac.new(PASSWORD.encode(), told, hashlib.sha1).digest()
            data = told + struct.pack(">HH", kind, 20) + digest
        else:
            data = told + struct.pack(">HHI", kind, 4, binascii.crc32(told) ^ 0x5354554E)
    return data


async def make_stun(faults: Counter[str], *, early: bool) -> Any:
    await let_go()
    aiortc_parts()
    random.seed(1)  # aioice's own dice, for names of candidates
    ice = aioice.ice.Connection(ice_controlling=False, local_username=_LOCAL, local_password=PASSWORD)
    protocol = aioice.ice.StunProtocol(ice)
    protocol.transport = _Nowhere()  # type: ignore[assignment]
    protocol.local_candidate = aioice.ice.Candidate(
        foundation="f", component=1, transport="udp", priority=1, host="127.0.0.1", port=5000, type="host"
    )
    ice._protocols = [protocol]
    guard_ice(ice, on_check=lambda _ufrag: True, on_turned_away=lambda: None, faults=faults)
    if not early:
        ice.remote_username, ice.remote_password = _REMOTE, "q" * 24
        ice._early_checks_done = True
    return protocol


def _stun_feed(*, early: bool) -> Feed:
    faults: Counter[str] = Counter()
    protocol = run(make_stun(faults, early=early))
    ice = protocol.receiver

    async def give(data: bytes) -> None:
        for repeat in range(2):  # from two of very many addresses
            host = f"10.0.{binascii.crc32(data) % 200}.{repeat + 1}"
            protocol.datagram_received(data, (host, 1024 + binascii.crc32(data) % 60_000))

    def feed(data: bytes) -> object:
        before, waiting = sum(faults.values()), ice._queue.qsize()
        run(give(data))
        assert ice._queue.qsize() <= webrtc_guards.MAX_EARLY_DATAGRAMS
        assert len(ice._remote_candidates) <= webrtc_guards.MAX_REMOTE
        assert len(ice._check_list) <= webrtc_guards.MAX_REMOTE
        assert len(ice._early_checks) <= 64
        if data[:1] != b"\x00" or faults["webrtc: malformed packet"] > before or ice._queue.qsize() > waiting:
            raise Refused
        return faults

    return feed


# DTLS

CLIENT_HELLO = bytes.fromhex(
    "16feff0000000000000000009c010000900000000000000090fefd3fbf94fbbace32d23075c4152dc42f6a60729ee932cc0310"
    "ba20fa31f17c158900000008c02bcca9c009c00a0100005eff01000100000b00020100000a000c000a001d0017001e00180019"
    "000e00090006000800070001000016000000170000000d002a0028040305030603080708080809080a080b0804080508060401"
    "05010601030303010302040205020602"
)


class _Ice:
    """What DTLS knows of ICE: one flight of datagrams comes, then the connection is gone."""

    role, state = "controlled", "completed"

    def __init__(self, datagrams: Sequence[bytes]) -> None:
        self._datagrams = list(datagrams)
        self.sent = 0

    async def _send(self, data: bytes) -> None:
        self.sent += 1

    async def _recv(self) -> bytes:
        if not self._datagrams:
            raise ConnectionError
        return self._datagrams.pop(0)


@cache
def _certificate() -> Any:
    return aiortc_parts().RTCCertificate.generateCertificate()


def _dtls_feed() -> Feed:
    rtc, certificate = aiortc_parts(), _certificate()

    async def open_with(data: bytes) -> tuple[Any, _Ice]:
        ice = _Ice([data, data[: len(data) // 2] or b"\0", data])
        dtls = rtc.RTCDtlsTransport(ice, [certificate])
        dtls._set_role("server")
        told = rtc.RTCDtlsParameters(fingerprints=[rtc.RTCDtlsFingerprint("sha-256", "00:" * 31 + "00")])
        await dtls.start(told)
        return dtls, ice

    def feed(data: bytes) -> object:
        if not data:
            raise Refused  # dropped before DTLS sees it
        try:
            dtls, ice = run(open_with(data))
        except MemoryError:
            raise
        except Exception as error:
            raise Refused(str(error)) from None
        assert dtls.state != "connected", "nobody proved a certificate"
        assert ice.sent <= 8, "three datagrams are answered with few"
        if ice.sent == 0:
            raise Refused
        return dtls.state

    return feed


def rtc_decoder(
    name: str, form: Form, samples: Callable[[], Sequence[bytes]], make: Callable[[], Feed],
    finish: Finish | None = None, *, life: int = LIFE, sound: bool = True,
) -> Decoder:  # fmt: skip
    return Decoder(
        name=name, form=form, samples=samples, make=make, refuses=(), finish=finish, life=life, sound=sound
    )


DECODERS = [
    rtc_decoder("stun/early", STUN, _stun_samples, partial(_stun_feed, early=True), authenticate),
    rtc_decoder("stun/checks", STUN, _stun_samples, partial(_stun_feed, early=False), authenticate),
    rtc_decoder("dtls", BINARY, lambda: [CLIENT_HELLO], _dtls_feed, life=0),
]
