"""The addresses a peer may be reached at: literal, few, and 7 or 19 bytes each."""

import ipaddress
from collections.abc import Iterable
from typing import Final, Literal

import msgspec

from signaling.errors import Malformed

MAX_CANDIDATES: Final = 8  # each one is an address we send checks to because a stranger said so
LARGEST: Final = 19  # bytes of one

CandidateType = Literal["host", "srflx", "relay"]
_TYPES: Final[tuple[CandidateType, ...]] = ("host", "srflx", "relay")


class Candidate(msgspec.Struct, frozen=True):
    """One UDP address: literal IPv4 or IPv6, never a name."""

    type: CandidateType
    address: str
    port: int


def pack_candidate(candidate: Candidate) -> bytes:
    """Type and family, address, port."""
    address = ipaddress.ip_address(candidate.address).packed
    code = _TYPES.index(candidate.type) | (0x10 if len(address) == 16 else 0)
    return bytes((code,)) + address + candidate.port.to_bytes(2, "big")


def parse_candidates(data: bytes, *, at: int, count: int) -> tuple[tuple[Candidate, ...], int]:
    """`count` candidates from `data[at:]`, and where they end; Malformed."""
    found = []
    if count > MAX_CANDIDATES:
        raise Malformed
    for _ in range(count):
        if at >= len(data):
            raise Malformed
        code, size = data[at] & 0x0F, 16 if data[at] & 0x10 else 4
        if code >= len(_TYPES) or data[at] & 0xE0 or at + 3 + size > len(data):
            raise Malformed
        address = ipaddress.ip_address(data[at + 1 : at + 1 + size])
        port = int.from_bytes(data[at + 1 + size : at + 3 + size], "big")
        if port == 0 or not is_one_host(address):
            raise Malformed
        found.append(Candidate(type=_TYPES[code], address=str(address), port=port))
        at += 3 + size
    return tuple(found), at


def is_one_host(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether what is sent there reaches one host: not many, and not none."""
    return not (address.is_multicast or address.is_unspecified or address.packed == b"\xff" * 4)


def fitting(candidates: Iterable[Candidate], *, limit: int) -> tuple[Candidate, ...]:
    """Those that fit into `limit` bytes, the first ones first."""
    chosen: list[Candidate] = []
    for candidate in candidates:
        size = len(pack_candidate(candidate))
        if size <= limit and len(chosen) < MAX_CANDIDATES:
            chosen.append(candidate)
            limit -= size
    return tuple(chosen)
