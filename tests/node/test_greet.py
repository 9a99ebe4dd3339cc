"""Whoever is at the other end of an open channel proves itself in ten seconds, or is given up."""

from collections import Counter, deque
from dataclasses import dataclass, field
from typing import cast

import pytest
import trio
from nacl.signing import SigningKey
from trio.testing import MockClock

from node.errors import ConnectFailed
from node.greet import greet
from node.webrtc import Connection
from signaling.description import (
    Answer,
    Identity,
    Offer,
    RoomId,
    make_answer,
    make_offer,
)
from signaling.handshake import Role

ANN, BOB = SigningKey(b"a" * 32), SigningKey(b"b" * 32)


@dataclass
class Open:
    """The near end of an open channel; the far end says what is in `says`, and then nothing."""

    says: deque[bytes]
    role: Role = Role.OFFERER
    heard: list[bytes] = field(default_factory=list)

    def exporter(self) -> bytes:
        return bytes(32)

    async def send(self, message: bytes) -> None:
        self.heard.append(message)

    async def receive(self) -> bytes:
        if not self.says:
            await trio.sleep_forever()
        return self.says.popleft()


def descriptions() -> tuple[Offer, Answer]:
    offer = make_offer(
        key=ANN,
        room=RoomId(bytes(32)),
        recipient=Identity(bytes(BOB.verify_key)),
        seed=bytes(16),
        issued=1,
        life=600,
        fingerprint=bytes(32),
        candidates=(),
    )
    return offer, make_answer(key=BOB, offer=offer, issued=1, fingerprint=bytes(32), candidates=())


@pytest.mark.parametrize(
    ("says", "seconds", "why"),
    [
        ([], 10, "never proved"),
        ([b"\xc1\x02" + bytes(32)], 10, "never proved"),
        ([b"\xc1\x03" + bytes(32)], 0, "version 3"),
        ([b"\x01\x04\x00\x00\x00"], 0, "not a commitment"),
        ([bytes(60_000)], 0, "not a commitment"),
        ([b"\xc1\x02" + bytes(32), b"\xc2\x02" + bytes(97)], 0, "nonce"),
    ],
)
async def test_who_does_not_prove_itself_is_given_up(
    says: list[bytes], seconds: float, why: str, autojump_clock: MockClock
) -> None:
    offer, answer = descriptions()
    channel = Open(deque(says))
    began = trio.current_time()
    with pytest.raises(ConnectFailed, match=why):
        await greet(cast(Connection, channel), key=ANN, offer=offer, answer=answer, faults=Counter())
    assert trio.current_time() - began == seconds
