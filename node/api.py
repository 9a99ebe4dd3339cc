"""What the command line may ask of a running node, whether in this process or behind its local socket."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import msgspec

from node.events import AnyEvent, InviteEvent, RemovalEvent, RoomEvent, StatusEvent


class MemberView(msgspec.Struct, frozen=True):
    """One line of `who`."""

    member: str
    nick: str
    state: str
    """`me`, `up` or `down`; `asks` for somebody who waits to be admitted."""
    admitted_at: int
    """Height of the block that admitted it; 0 for the founder."""
    words: str = ""
    convicted: bool = False
    """Its vote key signed twice and is not listened to."""
    have: int = 0
    need: int = 0
    rekey: bool = False
    """Of one that asks: a member already, for a new vote key."""
    remark: str = ""
    """Of one that asks: a sentence where it is not who this home would expect."""


class NodeApi(Protocol):
    """Both `node.node.Node` and `node.control.RemoteNode` satisfy this."""

    async def room(self) -> RoomEvent: ...

    async def say(self, text: str) -> str:
        """Queue a message durably; its id (hex). Raises NodeError for one that is too long or not text."""
        ...

    async def status(self) -> StatusEvent: ...

    async def who(self) -> list[MemberView]: ...

    async def admit(self, who: str) -> MemberView:
        """Approve the one who asks by this nick or by a prefix of its id. Raises NodeError if nobody does."""
        ...

    async def remove(self, who: str) -> RemovalEvent:
        """Be for removing the member with this nick or prefix of its id. NodeError if there is none."""
        ...

    async def leave(self) -> RemovalEvent:
        """Ask the other members to let us go. When they have, the node ends. NodeError for the last one."""
        ...

    async def invite(self) -> InviteEvent: ...

    async def renew(self, token: str | None = None) -> InviteEvent:
        """A fresh offer in the place of one that this node showed, open or expired; of the newest without
        `token`. UsageError if there is none, or somebody has answered it; ConnectFailed without any address.
        """
        ...

    async def carry(self, text: str) -> str:
        """A token that a person brought, wherever it stands in the text: what it was, `offer` or `answer`.

        UsageError says what is wrong with it, or that this room has no carrier whose tokens people carry.
        """
        ...

    def events(
        self, *, since: int | None = None, watching: bool = True
    ) -> AbstractAsyncContextManager[AsyncIterator[AnyEvent]]:
        """`room` first, then what is wrong, who asks or is to go, and what of ours is pending; then every
        event from now on, in order.

        With `since`, the final messages from that index on come before later ones, whole and by index,
        however long ago they were said (0: all). A subscriber that falls far behind is cut off with an error.
        `watching`: somebody looks at it, so that a peer that died should show within seconds, at the cost of
        a few bytes a second on idle links.
        """
        ...
