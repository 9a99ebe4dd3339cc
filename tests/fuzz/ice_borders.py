"""What STUN and TURN servers answer, and the file that names one: nobody believes a server."""

import ipaddress
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from aioice import stun

from node.errors import UsageError
from node.ice_servers import Server, TurnServer, parse_server, parse_turn
from node.turn_packets import peer_attribute, send_indication
from node.webrtc_ice import _Asked, _mapped_in
from node.webrtc_turn import Allocation
from signaling.candidates import is_one_host
from tests.fuzz.decoder import Decoder, Feed, Refused
from tests.fuzz.forms import JSON, TEXT
from tests.fuzz.rtc_borders import LIFE, PASSWORD, STUN, authenticate, make_stun, rtc_decoder, run

_SERVER: Final = ("192.0.2.100", 3478)
_PEER: Final = ("192.0.2.1", 7)
_ASKED, _TOLD = b"t" * 12, b"u" * 12  # transactions: one before there is a key, one with it
_GOOD: Final = {"urls": "turn:turn.example.org:3479", "username": "1789000000:ann", "credential": "secret"}


def _message(kind: stun.Class, method: stun.Method, transaction: bytes, **attributes: Any) -> bytes:
    named = {name.replace("_", "-"): value for name, value in attributes.items()}
    return bytes(stun.Message(method, kind, transaction, named))


def _answers() -> Sequence[bytes]:
    good, bad = stun.Class.RESPONSE, stun.Class.ERROR
    given = {"XOR_RELAYED_ADDRESS": ("192.0.2.9", 50_000), "XOR_MAPPED_ADDRESS": _PEER, "LIFETIME": 600}
    challenge = {"ERROR_CODE": (401, "who are you"), "REALM": "realm", "NONCE": b"nonce"}
    return [
        _message(good, stun.Method.ALLOCATE, _ASKED, **given),
        _message(bad, stun.Method.ALLOCATE, _ASKED, **challenge),
        _message(bad, stun.Method.REFRESH, _TOLD, **challenge),
        b"\0\x17" + send_indication(b"x" * 40, peer=peer_attribute(_PEER, _ASKED), transaction=_ASKED)[2:],
    ]


class _Nowhere:
    """A socket to a server that is not there."""

    def sendto(self, data: bytes) -> None:
        pass

    def abort(self) -> None:
        pass


class _Receiver:
    def __init__(self) -> None:
        self.received = 0

    def datagram_received(self, data: bytes, peer: tuple[str, int]) -> None:
        assert 0 < len(data) <= 2048 + 128
        assert peer[0] == _PEER[0], "it was not permitted"
        self.received += 1

    def connection_lost(self, error: Exception | None) -> None:
        raise AssertionError("a packet ended the allocation")


async def _allocation(faults: Counter[str]) -> Allocation:
    made = Allocation(TurnServer(Server("192.0.2.100"), "ann", "secret"), faults=faults)
    made._transport, made.receiver = _Nowhere(), _Receiver()
    made._permitted[_PEER[0]] = 1.0
    return made


def _turn_feed() -> Feed:
    faults: Counter[str] = Counter()
    allocation = run(_allocation(faults))

    def feed(data: bytes) -> object:
        waiting = allocation._loop.create_future(), allocation._loop.create_future()
        allocation._waiting = {_ASKED: (waiting[0], None), _TOLD: (waiting[1], PASSWORD.encode())}
        before, received = faults.total(), allocation.receiver.received
        allocation.datagram_received(data, _SERVER)
        if waiting[1].done():
            answer = waiting[1].result()
            assert answer.error_code in (401, 438) or answer.check_message_integrity(PASSWORD.encode())
        if faults.total() > before or not (
            allocation.receiver.received > received or any(each.done() for each in waiting)
        ):
            raise Refused
        return faults

    return feed


def _mapped() -> Sequence[bytes]:
    seen = {"XOR_MAPPED_ADDRESS": ("192.0.2.9", 50_000)}
    method = stun.Method.BINDING
    return [
        _message(stun.Class.RESPONSE, method, _ASKED, **seen),
        _message(stun.Class.RESPONSE, method, _ASKED, **seen, SOFTWARE="x" * 30, MAPPED_ADDRESS=_PEER),
    ]


async def _answer(protocol: Any, data: bytes) -> Any:
    asked = _Asked(_SERVER)
    protocol.transactions = {_ASKED: asked}
    protocol.datagram_received(data, _SERVER)
    return _mapped_in(asked.answered.result(), family=4) if asked.answered.done() else None


def _stun_feed() -> Feed:
    protocol = run(make_stun(Counter(), early=True))

    def feed(data: bytes) -> object:
        found = run(_answer(protocol, data))
        if found is None:
            raise Refused
        assert is_one_host(ipaddress.IPv4Address(found[0]))
        assert 0 < found[1] < 65_536
        return found

    return feed


def _files() -> Sequence[bytes]:
    several = [{"urls": ["stun:a", "turns:b"]}, _GOOD]
    spoken = {"url": "turn:[2001:db8::1]:1", "username": "ann", "password": "secret"}
    return [json.dumps(each).encode() for each in (_GOOD, several, spoken)]


def _name(data: bytes) -> object:
    found = parse_server(data.decode("latin-1"), scheme="stun")
    assert parse_server(str(found), scheme="stun") == found
    return found


DECODERS = [
    rtc_decoder("turn/packets", STUN, _answers, _turn_feed, authenticate, life=LIFE, sound=False),
    rtc_decoder("stun/server", STUN, _mapped, _stun_feed, life=LIFE),
    Decoder(name="turn/file", form=JSON, samples=_files, make=lambda: parse_turn, refuses=(UsageError,)),
    Decoder(
        name="stun/name",
        form=TEXT,
        samples=lambda: [b"stun.example.org:19302", b"[2001:db8::1]:3478", b"stun:192.0.2.1"],
        make=lambda: _name,
        refuses=(UsageError,),
    ),
]
