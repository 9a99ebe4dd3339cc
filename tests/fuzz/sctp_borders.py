"""SCTP inside an open DTLS session: packets of a peer that is through the handshake.

An association as node/webrtc_connection.py guards it, over a session that sends nowhere. Whatever it raises
ends that one connection, so it counts as a refusal; a fault is an input that takes long, takes memory, or
leaves more behind than the bounds allow.
"""

import asyncio
import hmac
import random
import struct
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import aiortc.rtcsctptransport as sctp
from google_crc32c import value as crc32c

from node import webrtc_connection, webrtc_guards
from node.webrtc import Connection
from node.webrtc_guards import aiortc_parts
from signaling.handshake import Role
from tests.fuzz.decoder import Feed, Refused
from tests.fuzz.forms import BINARY, Form, Part, words
from tests.fuzz.rtc_borders import event_loop, lengths_walk, let_go, rtc_decoder, run

_TAG, _TSN, _OUR_TSN = 7, 100, 1000
_HMAC_KEY = b"k" * 16


def _sctp_parts(data: bytes) -> list[Part]:
    return [*words(data), *lengths_walk(data, 12, counts_itself=True)]


SCTP = Form(
    "SCTP",
    _sctp_parts,
    (
        *BINARY.odd, b"\x01\x00\x00\x08\x00\x00\x00\x00", b"\x82\x00\x00\x08\x00\x0d\x00\x00",
        b"\x03\x00\x00\x10\x00\x00\x03\xe8\x00\x01\x00\x00\xff\xff\x00\x00",
        b"\x03\x00\x00\x14\x00\x00\x03\xe8\x00\x01\x00\x00\x00\x01\x00\x00\x00\x01\xff\xff",
        b"\x03\x00\x00\x14\x00\x00\x03\xe8\x00\x01\x00\x00\x00\x01\x00\x00\x00\x09\x00\x01",
        b"\x03\x00\x04\x70\x00\x00\x03\xe8\x00\x01\x00\x00\x01\x18\x00\x00" + b"\x00\x00\xff\xff" * 280,
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
    await let_go()
    rtc = aiortc_parts()
    dtls = _Dtls()
    connection = Connection(event_loop(), role=Role.OFFERER, faults=faults)
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
    return packet_feed(_make_sctp, _fits)


def _fits(connection: Any, _data: bytes) -> bool:
    return bool(connection._inbox_size <= webrtc_connection._MAX_INBOX)


def packet_feed(make: Callable[[Counter[str]], Any], fits: Callable[[Any, bytes], bool]) -> Feed:
    """Packets for the association of a connection, begun anew by `make` whenever one ends it.

    fits(connection, packet): whether what it keeps for its reader is within bounds.
    """
    faults: Counter[str] = Counter()
    made = [run(make(faults))]

    def feed(data: bytes) -> object:
        association, dtls, connection = made[0]
        sent = dtls.sent
        try:
            _, _, tag, _ = sctp.parse_packet(data)
        except Exception:  # noticed below, by the pump
            tag = None
        try:
            run(association._handle_data(data))
        except MemoryError:
            raise
        except Exception as error:  # ends the pump, and with it the connection
            run(_end(association))
            made[0] = run(make(faults))
            raise Refused(str(error)) from None
        assert dtls.sent - sent <= 400, "one packet makes us send few"
        if connection.lost or association.state == "closed":
            run(_end(association))
            made[0] = run(make(faults))
            raise Refused(connection.lost)
        reassembly = sum(len(stream.reassembly) for stream in association._inbound_streams.values())
        assert reassembly <= webrtc_guards._MAX_REASSEMBLY
        assert len(association._sack_misordered) <= webrtc_guards._MAX_MISORDERED
        assert len(association._sack_duplicates) <= 2000
        assert len(association._inbound_streams) <= 1
        assert len(association._data_channels) <= 1
        assert fits(connection, data)
        if tag not in (0, _TAG):
            raise Refused
        return association

    return feed


async def _end(association: Any) -> None:
    """Its timers too."""
    for cancel in ("_t1_cancel", "_t2_cancel", "_t3_cancel", "_reconfig_timer_cancel"):
        getattr(association, cancel)()
    probe = getattr(association, "_probe", None)  # of one opened in band
    if probe is not None:
        probe.cancel()


# What is sound is refused by an association that an earlier packet left in another state.
DECODERS = [rtc_decoder("sctp", SCTP, _sctp_samples, _sctp_feed, _sum, sound=False)]
