"""A member that lies, for the demo: it signs two slots for one place and shows each to half of the others.

    python -m node.liar HOME SAID SHOWN

opens the home's only room, waits until everybody is up, says SAID, and shows every second member SHOWN in
its place. A program of its own: nothing imports it, and nothing in a node that people run leads here. All
but that one lie is the node's, so what the others do about it is what they would do about any liar.
"""

import secrets
import signal
import sys
from typing import Final

import msgspec
import trio
from nacl.signing import SigningKey

from chain.block import SALT_SIZE, UUID_SIZE, Body
from chain.crypto import Ed25519Signer
from chain.ids import MemberId, RoomId
from chain.message import Message, SlotMessage, pack, signed, unpack
from node.config import Home, RoomConfig
from node.content import body_text, text_body
from node.disk import identity_of, vote_key_of
from node.errors import NodeError
from node.events import AnyEvent, NoticeEvent, RoomEvent
from node.failure import one_error
from node.mesh import Mesh
from node.node import Node
from node.terms import settle

_LOOK_AGAIN: Final = 0.1


class TwoFaced(Mesh):
    """Sends what it is given, but for one message that some members get with other words in it."""

    said: str | None = None
    """The words that only the others see; None: no lie yet."""
    shown: str = ""
    deceived: frozenset[MemberId] = frozenset()
    key: SigningKey
    room: RoomId
    me: MemberId
    forged: SlotMessage | None = None

    def send(self, peer: MemberId, data: bytes) -> None:
        if self.said is not None and peer in self.deceived:
            messages = [self._as_shown(message) for message in unpack(data)]
            for envelope in pack(messages):
                super().send(peer, envelope)
        else:
            super().send(peer, data)

    def _as_shown(self, message: Message) -> Message:
        if not isinstance(message, SlotMessage) or [body_text(b.data) for b in message.bodies] != [self.said]:
            return message
        if self.forged is None:  # one forgery, so that exactly two slots claim the place
            (body,) = message.bodies
            words = text_body(self.shown).data[UUID_SIZE:]
            other = Body(secrets.token_bytes(SALT_SIZE), body.data[:UUID_SIZE] + words)
            slot = msgspec.structs.replace(
                message.slot, commitments=(other.commitment(room=self.room, author=self.me),)
            )
            slot = signed(slot, room=self.room, key=Ed25519Signer(bytes(self.key)))
            self.forged = SlotMessage(slot, (other,))
        return self.forged


class Liar(Node):
    """The node, on a mesh with two faces."""

    def __init__(self, home: Home, room: RoomConfig) -> None:
        super().__init__(home, settle(home, room))
        self.mesh = TwoFaced(
            inbox=self._inbox[0], is_member=self._is_member, on_change=self._on_change, faults=self.faults
        )
        self.mesh.key = vote_key_of(home, room.fingerprint)
        self.mesh.room = RoomId(room.room_id)
        self.mesh.me = MemberId(bytes(identity_of(home).verify_key))
        self._mesh = self.mesh

    async def run(self, *, said: str, shown: str) -> None:
        """Lie once; then go on as if nothing had happened, until cancelled."""
        with one_error():
            async with trio.open_nursery() as nursery:
                await nursery.start(self._serve)
                try:
                    async with self.events() as events:
                        room = await self._everybody_is_up()
                        tell(room)
                        self.mesh.said, self.mesh.shown = said, shown
                        self.mesh.deceived = frozenset(sorted(self.mesh.linked())[::2])
                        await self.say(said)
                        tell(NoticeEvent(message=f"Signed both “{said}” and “{shown}”."))
                        async for event in events:
                            tell(event)
                finally:
                    self._stop.set()

    async def _everybody_is_up(self) -> RoomEvent:
        while (status := await self.status()).up < status.n or self._seated().recovering:
            await trio.sleep(_LOOK_AGAIN)
        return await self.room()


def tell(event: AnyEvent) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(event) + b"\n")
    sys.stdout.flush()


async def main(*arguments: str) -> int:
    """Until SIGTERM."""
    home, said, shown = arguments
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:

            async def watch() -> None:
                async for _ in signals:
                    nursery.cancel_scope.cancel()

            nursery.start_soon(watch)
            where = Home.at(home)
            await Liar(where, where.room(None)).run(said=said, shown=shown)
    return 128 + signal.SIGTERM


if __name__ == "__main__":
    try:
        sys.exit(trio.run(main, *sys.argv[1:]))
    except NodeError as error:
        sys.exit(str(error))
