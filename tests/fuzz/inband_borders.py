"""SCTP packets of a foreign program that is through the handshake with `pipe`, and that nobody reads from.

As sctp_borders, where a channel may be opened in band, text and empty messages are taken, and what is beyond
the window has to be dropped.
"""

import asyncio
import struct
from collections import Counter
from functools import partial
from typing import Any

import aiortc.rtcsctptransport as sctp

from node.webrtc_inband import InBandConnection, _inband_sctp
from signaling.handshake import Role
from tests.fuzz.decoder import Feed
from tests.fuzz.rtc_borders import event_loop, let_go, rtc_decoder
from tests.fuzz.sctp_borders import (
    _HMAC_KEY,
    _OUR_TSN,
    _TAG,
    _TSN,
    SCTP,
    _chunk,
    _Dtls,
    _packet,
    _sctp_samples,
    _sum,
    packet_feed,
)

_WINDOW = 1 << 20


def _opening(*, kind: int = 0, label: bytes = b"pipe", protocol: bytes = b"") -> bytes:
    return struct.pack("!BBHLHH", 3, kind, 0, 0, len(label), len(protocol)) + label + protocol


def _samples() -> list[bytes]:
    data = partial(_chunk, sctp.DataChunk, stream_id=0, flags=3)
    opened = data(tsn=_TSN + 1, stream_seq=0, protocol=50, user_data=_opening())
    said = [
        data(tsn=_TSN + 2 + at, stream_seq=1 + at, protocol=kind, user_data=text)
        for at, (kind, text) in enumerate(
            ((51, b"text"), (53, b"bytes" * 100), (56, b"\0"), (57, b"\0"), (53, b"more"), (51, b"\xff"))
        )
    ]
    return [
        *_sctp_samples(),
        _packet(opened),
        _packet(opened, *said),
        *(_packet(each) for each in said),
        *(
            _packet(data(tsn=_TSN + 1, stream_seq=0, protocol=50, user_data=text))
            for text in (
                _opening(kind=0x80), _opening(kind=1), _opening(label=b"\xff"), _opening(protocol=b"odd"),
                _opening()[:11], b"\x02", b"", b"\x07",
            )
        ),
        _packet(data(tsn=_TSN + 1, stream_seq=0, protocol=50, user_data=_opening(), stream_id=5)),
        _packet(*(data(tsn=_TSN + n, stream_seq=n - 1, protocol=50, user_data=_opening()) for n in (1, 2))),
        _packet(_chunk(sctp.SackChunk, cumulative_tsn=_OUR_TSN, advertised_rwnd=0)),
    ]  # fmt: skip


async def _make(faults: Counter[str]) -> tuple[Any, Any, InBandConnection]:
    """An association that was made; the channel is the other side's to open."""
    await let_go()
    dtls = _Dtls()
    connection = InBandConnection(event_loop(), role=Role.ANSWERER, faults=faults)
    association = _inband_sctp()(dtls, 5000)
    association.guard(connection._on_fault)
    association.watch(connection)
    association.on("datachannel", connection._take)
    connection._sctp = association
    association._hmac_key, association._local_verification_tag = _HMAC_KEY, _TAG
    association._remote_port, association._remote_verification_tag = 5000, 9
    association._local_tsn, association._last_received_tsn = _OUR_TSN, _TSN
    association._last_sacked_tsn = association._advanced_peer_ack_tsn = _OUR_TSN - 1
    association._reconfig_request_seq, association._reconfig_response_seq = _OUR_TSN, _TSN
    association._ssthresh, association._data_channel_id = 131072, 1
    association._get_timestamp = lambda: 0
    association._set_state(association.State.ESTABLISHED)
    await asyncio.sleep(0)
    return association, dtls, connection


def _fits(connection: Any, data: bytes) -> bool:
    """What is beyond the window has been dropped."""
    kept = connection._inbox_size + 64 * len(connection._inbox)
    return bool(kept <= _WINDOW + len(data) + 64)


def _feed() -> Feed:
    return packet_feed(_make, _fits)


DECODERS = [rtc_decoder("sctp/in-band", SCTP, _samples, _feed, _sum, sound=False)]
