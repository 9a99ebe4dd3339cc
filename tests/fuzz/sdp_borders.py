"""Session descriptions of strangers, as the JSON that `pipe` is handed and as the SDP inside it."""

import json
import random

from signaling.sdp import SdpKind, Session, parse_sdp, parse_signals, write_sdp, write_signal
from tests.fuzz.decoder import Differs, Feed, Refused
from tests.fuzz.forms import JSON, TEXT
from tests.fuzz.signal_borders import often, signal_decoder
from tests.signaling.test_sdp import CHROMIUM, FIREFOX

_CANDIDATE = "candidate:1 1 udp 2113937151 203.0.113.7 50001 typ host generation 0"


def _texts() -> list[bytes]:
    return [CHROMIUM.encode(), FIREFOX.encode(), CHROMIUM.replace("\r\n", "\n").encode()]


def _signals() -> list[bytes]:
    offer = {"type": "offer", "sdp": CHROMIUM}
    simple = {"type": "candidate", "candidate": {"candidate": _CANDIDATE, "sdpMLineIndex": 0}}
    return [
        json.dumps(offer).encode(),
        json.dumps([{"type": "answer", "sdp": FIREFOX, "renegotiate": False}, simple]).encode(),
        json.dumps([offer, simple, {"candidate": _CANDIDATE, "sdpMid": "0"}, {"candidate": ""}]).encode(),
    ]


def _written_again(session: Session) -> None:
    """What was accepted can be said, and is understood as the same."""
    if parse_sdp(write_sdp(session), kind=session.kind) != session:
        raise Differs("accepted, but what we write of it means something else")
    if parse_signals(write_signal(session)).session != session:
        raise Differs("accepted, but our JSON of it means something else")


def _text_feed() -> Feed:
    def feed(data: bytes) -> object:
        kind: SdpKind = "offer" if b"actpass" in data else "answer"
        session = parse_sdp(data.decode(errors="surrogateescape"), kind=kind)
        _written_again(session)
        return session

    return feed


def _answering(data: bytes, dice: random.Random) -> bytes:
    """As an answer more often than mutations would make one."""
    return data.replace(b"actpass", b"passive")


def _signal_feed() -> Feed:
    def feed(data: bytes) -> object:
        signals = parse_signals(data)
        if len(signals.candidates) > 8:
            raise Differs("more addresses than may be")
        if signals.session is None:
            raise Refused
        _written_again(signals.session)
        return signals

    return feed


DECODERS = [
    signal_decoder("sdp/text", TEXT, _texts, _text_feed, often(_answering)),
    signal_decoder("sdp/json", JSON, _signals, _signal_feed),
]
