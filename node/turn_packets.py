"""The two TURN packets that carry data (RFC 8656, 11): written and read here, for they are the many.

What is read comes from a server, which is not believed: sizes first, then the addresses.
"""

import ipaddress
import struct
from typing import Final

from signaling.candidates import is_one_host

Address = tuple[str, int]

HEAD: Final = struct.Struct("!HHI12s")
"""Type, length of the rest, the magic cookie, the transaction."""
SEND_INDICATION: Final = 0x0016
DATA_INDICATION: Final = 0x0017
_COOKIE: Final = 0x2112A442
_PEER: Final = 0x0012
_DATA: Final = 0x0013


def send_indication(data: bytes, *, peer: bytes, transaction: bytes) -> bytes:
    """Send `data` on; `peer`: to whom, from peer_attribute() with the same transaction."""
    body = peer + struct.pack("!HH", _DATA, len(data)) + data + bytes(-len(data) % 4)
    return HEAD.pack(SEND_INDICATION, len(body), _COOKIE, transaction) + body


def peer_attribute(address: Address, transaction: bytes) -> bytes:
    packed = ipaddress.ip_address(address[0]).packed
    plain = address[1].to_bytes(2, "big") + packed
    family = 1 if len(packed) == 4 else 2
    value = bytes((0, family)) + _masked(plain, transaction)
    return struct.pack("!HH", _PEER, len(value)) + value


def parse_data(packet: bytes) -> tuple[Address, bytes]:
    """Who a Data indication is from, and what it brings; ValueError."""
    _, length, cookie, transaction = HEAD.unpack_from(packet)
    if cookie != _COOKIE or length != len(packet) - HEAD.size:
        raise ValueError("a Data indication of another length than it says")
    peer: Address | None = None
    payload: bytes | None = None
    at = HEAD.size
    while at + 4 <= len(packet):
        kind, size = struct.unpack_from("!HH", packet, at)
        value = packet[at + 4 : at + 4 + size]
        if len(value) != size:
            raise ValueError("an attribute longer than its packet")
        if kind == _PEER and peer is None:
            peer = _parse_peer(value, transaction)
        elif kind == _DATA and payload is None:
            payload = value
        at += 4 + size + (-size % 4)
    if peer is None or payload is None:
        raise ValueError("a Data indication without a peer or data")
    return peer, payload


def _parse_peer(value: bytes, transaction: bytes) -> Address:
    if (len(value), value[1:2]) not in ((8, b"\x01"), (20, b"\x02")):
        raise ValueError("a peer's address of no known family")
    plain = _masked(value[2:], transaction)
    address = ipaddress.ip_address(plain[2:])
    port = int.from_bytes(plain[:2], "big")
    if not port or not is_one_host(address):
        raise ValueError("a peer's address that is none")
    return str(address), port


def _masked(port_and_address: bytes, transaction: bytes) -> bytes:
    """RFC 8489, 14.2; its own inverse."""
    cookie = _COOKIE.to_bytes(4, "big")
    mask = cookie[:2] + cookie + transaction
    return bytes(a ^ b for a, b in zip(port_and_address, mask, strict=False))
