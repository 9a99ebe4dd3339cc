"""The door inside the channel: what a member and a proven newcomer say before their link is given out.

    member -> guest   WELCOME   whether the room asks for a password
    [both             ELEMENT, then PROOF, see signaling/password.py]
    guest -> member   ASK       whether an invitation is wanted
    member -> guest   GRANT     the invitation, or nothing
    member -> guest   REFUSED   instead of anything, and the last: why, and after how many seconds again

One message at a time, each bounded in bytes and waited for so long and no longer. Whatever breaks the order
ends this link only. The messages are inside DTLS and bound to it: the handshake came first. What the member
does is in node/seeing_in.py, what the guest does in node/guest.py.
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Protocol

import trio

from node.errors import ConnectFailed
from signaling.description import Offer
from signaling.password import PasswordRun, Side

VERSION: Final = 1
WELCOME: Final = bytes((0xC3, VERSION))  # no link message begins with these
ASK: Final = bytes((0xC6, VERSION))
GRANT: Final = bytes((0xC7, VERSION))
REFUSED: Final = bytes((0xC8, VERSION))
YES: Final = 0x01
WRONG: Final = 1
TOO_MANY: Final = 2

DEADLINE: Final = 10.0
TYPING: Final = 120.0  # seconds a person may take for the password


class Talk(Protocol):
    """An open channel, see node/webrtc.py."""

    async def send(self, message: bytes) -> None: ...

    async def receive(self) -> bytes: ...


@dataclass(frozen=True, kw_only=True)
class Meeting:
    """Who meets, in which session. `session`: the digest of the handshake's binding."""

    talk: Talk
    session: bytes
    guest: bytes
    host: bytes
    offer: Offer


def password_run(side: Side, secret: bytes, meeting: Meeting) -> PasswordRun:
    """One guess, or one look at a guess, in this very session."""
    return PasswordRun(
        side=side,
        secret=secret,
        session=meeting.session,
        guest=meeting.guest,
        host=meeting.host,
        random=secrets.token_bytes(64),
    )


@contextmanager
def within(seconds: float) -> Iterator[trio.CancelScope]:
    """ConnectFailed instead of waiting any longer; the deadline may be moved."""
    with trio.move_on_after(seconds) as scope:
        yield scope
    if scope.cancelled_caught:
        raise ConnectFailed("The other end stopped answering before it was linked.", "Try again.")
