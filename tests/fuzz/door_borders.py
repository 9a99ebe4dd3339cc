"""What is said at the door inside a channel: by a stranger to a member, and by a member to a newcomer."""

import copy
import hashlib
from collections import deque
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, cast

from node.errors import ConnectFailed
from node.reception import Guest, Host, Meeting
from signaling.handshake import Send
from signaling.invitation import Invitation, encode_invitation
from signaling.password import Agreed, Broken, PasswordRun, Side, Wrong
from tests.fuzz import signal_borders as signals
from tests.fuzz.decoder import Decoder, Feed, Refused
from tests.fuzz.forms import BINARY, Form

_SECRET = hashlib.sha256(b"open sesame").digest()
_SESSION = bytes(range(32))


def _run(side: Side) -> PasswordRun:
    return PasswordRun(
        side=side,
        secret=_SECRET,
        session=_SESSION,
        guest=signals.BOB_ID,
        host=signals.ANN_ID,
        random=side.name.encode()[:4] * 16,
    )


@cache
def _said() -> tuple[bytes, bytes, bytes, bytes]:
    """Element, element, proof, proof."""
    guest, host = _run(Side.GUEST), _run(Side.HOST)
    host.start()
    (first,) = guest.start()
    (second,) = host.receive(cast(Send, first).message)
    (third,) = guest.receive(cast(Send, second).message)
    fourth, _ = host.receive(cast(Send, third).message)
    made = tuple(cast(Send, each).message for each in (first, second, third, fourth))
    return cast(tuple[bytes, bytes, bytes, bytes], made)


def _password_feed(side: Side, *, after: int) -> Feed:
    """A run that has heard `after` messages; a copy for each input, for the arithmetic takes its time."""
    begun = _run(side)
    begun.start()
    for message in _said()[1 if side is Side.GUEST else 0 :: 2][:after]:
        begun.receive(message)

    def feed(data: bytes) -> object:
        run = copy.copy(begun)
        run._exchange = copy.copy(begun._exchange)
        effects = run.receive(data)
        if isinstance(effects[0], Broken | Wrong):
            assert run.receive(data) == []
            raise Refused(str(effects[0]))
        assert after == 0 or effects[-1] == Agreed()
        return effects

    return feed


class _Far:
    """Says what it has to say, and is gone."""

    def __init__(self, says: Sequence[bytes]) -> None:
        self._says = deque(says)

    async def send(self, message: bytes) -> None:
        pass

    async def receive(self) -> bytes:
        if not self._says:
            raise ConnectFailed("The far end is silent.", "")
        return self._says.popleft()


def _meeting(*says: bytes) -> Meeting:
    return Meeting(
        talk=_Far(says),
        session=_SESSION,
        guest=signals.BOB_ID,
        host=signals.ANN_ID,
        offer=signals.offer_to_bob(),
    )


def _grants() -> list[bytes]:
    """A welcome without a password, and what is granted."""
    invitation = Invitation(
        room=signals.offer_to_bob().room, inviter=signals.ANN_ID, secret=bytes(16), expires=1 << 39
    )
    return [b"\xc3\x01\x00\xc7\x01" + encode_invitation(invitation)]


def _guest_feed() -> Feed:
    async def feed(data: bytes) -> object:
        granted: list[Invitation] = []
        guest = Guest(has_invitation=lambda: False, granted=granted.append)
        guest._secret = _SECRET  # a person who typed already: else a welcome that asks would be waited on
        guest._told.set()
        await guest.arrive(_meeting(data[:3], data[3:]))
        return granted

    return feed


def _host_feed() -> Feed:
    async def feed(data: bytes) -> object:
        await Host(may_have_invitation=lambda _guest, _offer: False).receive(_meeting(data))
        return None

    return feed


def _decoder(
    name: str, form: Form, samples: Callable[[], Sequence[bytes]], make: Callable[[], Feed], **more: Any
) -> Decoder:
    return Decoder(name=name, form=form, samples=samples, make=make, refuses=(ConnectFailed,), **more)


DECODERS = [
    _decoder("door/guest", BINARY, _grants, _guest_feed, waits=True),
    _decoder("door/host", BINARY, lambda: [b"\xc6\x01\x00", b"\xc6\x01\x01"], _host_feed, waits=True),
    _decoder("password/element", BINARY, lambda: [_said()[0]], partial(_password_feed, Side.HOST, after=0)),
    _decoder("password/elements", BINARY, lambda: [_said()[1]], partial(_password_feed, Side.GUEST, after=0)),
    _decoder("password/proof", BINARY, lambda: [_said()[2]], partial(_password_feed, Side.HOST, after=1)),
    _decoder("password/proofs", BINARY, lambda: [_said()[3]], partial(_password_feed, Side.GUEST, after=1)),
]
