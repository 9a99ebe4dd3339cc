"""What datagrams reach: ICE's STUN, the DTLS session that opens a connection, and SCTP inside it.

The parts are those of node/webrtc.py with its mends, put together as it puts them together, over a transport
that sends nowhere. Whatever SCTP or DTLS raises ends that one connection, so it counts as a refusal; what
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
import aiortc.rtcsctptransport as sctp
from google_crc32c import value as crc32c

from node import webrtc
from node.webrtc import Connection, _aiortc, _cap_datagrams
from signaling.handshake import Role
from tests.fuzz.decoder import Decoder, Feed, Refused
from tests.fuzz.forms import BINARY, Form, Part, words
from tests.fuzz.mutate import Finish

_LIFE = 50


@cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda _loop, _context: None)  # as node/webrtc.py: counted, and no more
    atexit.register(loop.close)
    return loop


def _run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    return _loop().run_until_complete(coroutine)


async def _let_go() -> None:
    """Nothing of a former life goes on."""
    others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def _lengths_walk(data: bytes, at: int, *, counts_itself: bool) -> list[Part]:
    """Attributes or chunks: two bytes of kind, two of length, and padding to four."""
    found = []
    while at + 4 <= len(data):
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        end = at + max(4, length if counts_itself else 4 + length)
        found += [(at, min(end + -end % 4, len(data))), (at + 2, at + 4), (at, at + 2)] * 4
        at = end + -end % 4
    return found


# STUN

_LOCAL, _REMOTE, _PASSWORD = "localufr", "remotefr", "p" * 24
STUN = Form(
    "STUN",
    lambda data: [*words(data), *_lengths_walk(data, 20, counts_itself=False)],
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


def _authenticate(data: bytes, dice: random.Random) -> bytes:
    """With MESSAGE-INTEGRITY under the right password and FINGERPRINT, as a peer could send it."""
    if len(data) < 20 or dice.random() < 0.1:
        return data
    for kind in (8, 0x8028):
        length = len(data) - 20 + (24 if kind == 8 else 8)
        told = data[:2] + (length % 2**16).to_bytes(2, "big") + data[4:]
        if kind == 8:
            digest = hmac.new(_PASSWORD.encode(), told, hashlib.sha1).digest()
            data = told + struct.pack(">HH", kind, 20) + digest
        else:
            data = told + struct.pack(">HHI", kind, 4, binascii.crc32(told) ^ 0x5354554E)
    return data


async def _make_stun(faults: Counter[str], *, early: bool) -> Any:
    await _let_go()
    _aiortc()
    random.seed(1)  # aioice's own dice, for names of candidates
    ice = aioice.ice.Connection(ice_controlling=False, local_username=_LOCAL, local_password=_PASSWORD)
    protocol = aioice.ice.StunProtocol(ice)
    protocol.transport = _Nowhere()  # type: ignore[assignment]
    protocol.local_candidate = aioice.ice.Candidate(
        foundation="f", component=1, transport="udp", priority=1, host="127.0.0.1", port=5000, type="host"
    )
    ice._protocols = [protocol]
    _cap_datagrams(ice, faults)
    if not early:
        ice.remote_username, ice.remote_password = _REMOTE, "q" * 24
        ice._early_checks_done = True
    return protocol


def _stun_feed(*, early: bool) -> Feed:
    faults: Counter[str] = Counter()
    protocol = _run(_make_stun(faults, early=early))
    ice = protocol.receiver

    async def give(data: bytes) -> None:
        for repeat in range(2):  # from two of very many addresses
            host = f"10.0.{binascii.crc32(data) % 200}.{repeat + 1}"
            protocol.datagram_received(data, (host, 1024 + binascii.crc32(data) % 60_000))

    def feed(data: bytes) -> object:
        before, waiting = sum(faults.values()), ice._queue.qsize()
        _run(give(data))
        assert ice._queue.qsize() <= webrtc._MAX_EARLY_DATAGRAMS
        assert len(ice._remote_candidates) <= webrtc._MAX_REMOTE
        assert len(ice._check_list) <= webrtc._MAX_REMOTE
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
    return _aiortc().RTCCertificate.generateCertificate()


def _dtls_feed() -> Feed:
    rtc, certificate = _aiortc(), _certificate()

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
            dtls, ice = _run(open_with(data))
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


# SCTP

_TAG, _TSN, _OUR_TSN = 7, 100, 1000
_HMAC_KEY = b"k" * 16


def _sctp_parts(data: bytes) -> list[Part]:
    return [*words(data), *_lengths_walk(data, 12, counts_itself=True)]


SCTP = Form(
    "SCTP",
    _sctp_parts,
    (
        *BINARY.odd, b"\x01\x00\x00\x08\x00\x00\x00\x00", b"\x82\x00\x00\x08\x00\x0d\x00\x00",
        b"\x03\x00\x00\x10\x00\x00\x03\xe8\x00\x01\x00\x00\xff\xff\x00\x00",
        b"\x03\x00\x00\x14\x00\x00\x03\xe8\x00\x01\x00\x00\x00\x01\x00\x00\x00\x01\xff\xff",
        b"\x03\x00\x00\x14\x00\x00\x03\xe8\x00\x01\x00\x00\x00\x01\x00\x00\x00\x09\x00\x01",
        b"\xc0\x00\x00\x08\xff\xff\xff\xff", b"\x00\x03\x00\x10" + bytes(12), b"\x06\x00\x00\x04",
        b"\x07\x00\x00\x08\x00\x00\x03\xe8", b"\x0e\x00\x00\x04", b"\x04\x00\x00\x08\x00\x01\x00\x00",
    ),
    BINARY.rewrite,
)  # fmt: skip


def _packet(*chunks: Any) -> bytes:
    return _summed(struct.pack("!HHLL", 5000, 5000, _TAG, 0) + b"".join(map(bytes, chunks)))


def _summed(data: bytes) -> bytes:
    if len(data) < 12:
        return data
    return data[:8] + struct.pack("<L", crc32c(data[:8] + bytes(4) + data[12:])) + data[12:]


def _sum(data: bytes, dice: random.Random) -> bytes:
    """With a right checksum, and nearly always the right tag: an INIT has none."""
    if dice.random() < 0.05 or len(data) < 13:
        return data
    tag = 0 if data[12] == 1 else _TAG
    return _summed(data[:4] + tag.to_bytes(4, "big") + data[8:])


def _chunk(kind: type, **fields: Any) -> Any:
    chunk = kind(flags=fields.pop("flags", 0))
    for name, value in fields.items():
        setattr(chunk, name, value)
    return chunk


def _sctp_samples() -> list[bytes]:
    data = partial(_chunk, sctp.DataChunk, stream_id=0, protocol=sctp.WEBRTC_BINARY)
    sack = partial(_chunk, sctp.SackChunk, advertised_rwnd=131072)
    tag = {"initiate_tag": 9, "advertised_rwnd": 131072, "outbound_streams": 65535, "inbound_streams": 65535}
    reset = sctp.StreamResetOutgoingParam(5, 6, _TSN, [0])
    cookie = struct.pack("!L", 0) + hmac.new(_HMAC_KEY, struct.pack("!L", 0), "sha1").digest()
    return [
        *(
            _packet(data(flags=flags, tsn=_TSN + tsn, stream_seq=tsn - 1, user_data=bytes([tsn]) * 100))
            for flags, tsn in ((3, 1), (2, 1), (0, 2), (1, 3), (3, 4), (7, 5), (3, 60))
        ),
        _packet(data(flags=3, tsn=_TSN + 1, stream_seq=0, user_data=bytes(1100))),
        _packet(*(data(flags=3, tsn=_TSN + n, stream_seq=n - 1, user_data=b"abcd") for n in range(1, 40))),
        _packet(*(data(flags=3, tsn=_TSN + 2 * n, stream_seq=n, user_data=b"") for n in range(1, 60))),
        _packet(sack(cumulative_tsn=_OUR_TSN)),
        _packet(sack(cumulative_tsn=_OUR_TSN - 1, gaps=[(2, 3), (5, 5)], duplicates=[_OUR_TSN])),
        _packet(sack(cumulative_tsn=_OUR_TSN + 1, gaps=[(1, 400)]), sack(cumulative_tsn=_OUR_TSN + 2)),
        _packet(_chunk(sctp.HeartbeatChunk, params=[(1, b"info" * 9)])),
        _packet(_chunk(sctp.HeartbeatAckChunk, params=[(1, b"info")])),
        _sum(
            _packet(_chunk(sctp.InitChunk, initial_tsn=_TSN, params=[(0x8008, b"\xc0\x82")], **tag)),
            random.Random(3),
        ),
        _packet(_chunk(sctp.InitAckChunk, initial_tsn=_TSN, params=[(7, cookie)], **tag)),
        _packet(_chunk(sctp.CookieEchoChunk, body=cookie)),
        _packet(_chunk(sctp.CookieAckChunk)),
        _packet(_chunk(sctp.ErrorChunk, params=[(3, bytes(8))])),
        _packet(_chunk(sctp.ReconfigChunk, params=[(13, bytes(reset))])),
        _packet(_chunk(sctp.ReconfigChunk, params=[(17, bytes(sctp.StreamAddOutgoingParam(5, 16)))])),
        _packet(_chunk(sctp.ReconfigChunk, params=[(16, bytes(sctp.StreamResetResponseParam(5, 1)))])),
    ]


class _Dtls:
    """A session that takes everything and says nothing."""

    state, _role = "connected", "server"

    def __init__(self) -> None:
        self.sent = 0

    async def _send_data(self, data: bytes) -> None:
        self.sent += 1

    def _unregister_data_receiver(self, receiver: object) -> None:
        pass


async def _make_sctp(faults: Counter[str]) -> tuple[Any, Any, Connection]:
    """An association that was made, with a little sent that nobody has acknowledged."""
    await _let_go()
    rtc = _aiortc()
    dtls = _Dtls()
    connection = Connection(_loop(), role=Role.OFFERER, faults=faults)
    association = rtc.GuardedSctp(dtls, 5000)
    association.guard(connection._on_fault)
    parameters = rtc.RTCDataChannelParameters(label="pigeon", negotiated=True, id=0, ordered=True)
    channel = rtc.RTCDataChannel(association, parameters)
    channel.on("message", connection._on_message)
    channel.on("close", lambda: connection._lose("closed by the peer"))
    connection._sctp, connection._channel = association, channel
    association._hmac_key, association._local_verification_tag = _HMAC_KEY, _TAG
    association._remote_port, association._remote_verification_tag = 5000, 9
    association._local_tsn, association._last_received_tsn = _OUR_TSN, _TSN
    association._last_sacked_tsn = association._advanced_peer_ack_tsn = _OUR_TSN - 1
    association._reconfig_request_seq, association._reconfig_response_seq = _OUR_TSN, _TSN
    association._ssthresh = 131072
    association._get_timestamp = lambda: 0
    association._set_state(association.State.ESTABLISHED)
    for size in (3000, 100, 100):
        channel.send(bytes(size))
    await asyncio.sleep(0)
    return association, dtls, connection


def _sctp_feed() -> Feed:
    faults: Counter[str] = Counter()
    made = [_run(_make_sctp(faults))]

    def feed(data: bytes) -> object:
        association, dtls, connection = made[0]
        sent = dtls.sent
        try:
            _, _, tag, _ = sctp.parse_packet(data)
        except ValueError:
            tag = None
        except Exception:  # noticed below, by the pump
            tag = None
        try:
            _run(association._handle_data(data))
        except MemoryError:
            raise
        except Exception as error:  # ends the pump, and with it the connection
            made[0] = _run(_end(association, faults))
            raise Refused(str(error)) from None
        assert dtls.sent - sent <= 400, "one packet makes us send few"
        if connection.lost or association.state == "closed":
            made[0] = _run(_end(association, faults))
            raise Refused(connection.lost)
        reassembly = sum(len(stream.reassembly) for stream in association._inbound_streams.values())
        assert reassembly <= webrtc._MAX_REASSEMBLY
        assert len(association._sack_misordered) <= webrtc._MAX_MISORDERED
        assert len(association._sack_duplicates) <= 2000
        assert len(association._inbound_streams) <= 1
        assert len(association._data_channels) <= 1
        assert connection._inbox_size <= webrtc._MAX_INBOX
        if tag not in (0, _TAG):
            raise Refused
        return association

    return feed


async def _end(association: Any, faults: Counter[str]) -> Any:
    """Its timers too."""
    for cancel in ("_t1_cancel", "_t2_cancel", "_t3_cancel", "_reconfig_timer_cancel"):
        getattr(association, cancel)()
    return await _make_sctp(faults)


def _decoder(
    name: str, form: Form, samples: Callable[[], Sequence[bytes]], make: Callable[[], Feed],
    finish: Finish | None = None, *, life: int = _LIFE,
) -> Decoder:  # fmt: skip
    return Decoder(name=name, form=form, samples=samples, make=make, refuses=(), finish=finish, life=life)


DECODERS = [
    _decoder("stun/early", STUN, _stun_samples, partial(_stun_feed, early=True), _authenticate),
    _decoder("stun/checks", STUN, _stun_samples, partial(_stun_feed, early=False), _authenticate),
    _decoder("dtls", BINARY, lambda: [CLIENT_HELLO], _dtls_feed, life=0),
    _decoder("sctp", SCTP, _sctp_samples, _sctp_feed, _sum),
]
