"""Our own messages on their way: queued once they are on disk, told when delivered, settled when final."""

from collections.abc import Iterable
from typing import Final

import trio

from chain.block import Body
from chain.effects import Delivered, Input, Pending, Say
from node.bus import Bus
from node.content import body_id, body_text, text_body
from node.errors import Exit, NodeError
from node.events import AnyEvent, DeliveredEvent, FinalEvent, PendingEvent

MAX_OUTSTANDING: Final = 4096  # own messages that are not final


class Said:
    """`bodies`: what was said before and is not final yet."""

    def __init__(self, bodies: Iterable[Body], *, bus: Bus, to_inbox: trio.MemorySendChannel[Input]) -> None:
        texts = {body_id(body.data): body_text(body.data) for body in bodies}
        self._outstanding = {uuid: text for uuid, text in texts.items() if text is not None}
        self._unsaved: dict[bytes, tuple[str, trio.Event]] = {}  # said, and not on disk yet
        self._bus = bus
        self._to_inbox = to_inbox

    def __len__(self) -> int:
        """How many are on disk and not final."""
        return len(self._outstanding)

    async def say(self, text: str) -> str:
        """Queue a message; returns its id once it is safe on this disk. NodeError."""
        body = text_body(text)
        if len(self._outstanding) + len(self._unsaved) >= MAX_OUTSTANDING:
            raise NodeError(
                f"{MAX_OUTSTANDING} messages wait to become final already.",
                "Wait until more members are up; `pigeon status --why` says who is missing.",
                exit_code=Exit.NO_QUORUM,
            )
        uuid, saved = body_id(body.data), trio.Event()
        self._unsaved[uuid] = text, saved
        try:
            await self._to_inbox.send(Say(body))
        except BaseException:
            del self._unsaved[uuid]  # it was never queued
            raise
        await saved.wait()
        return uuid.hex()

    def on_pending(self, notice: Pending) -> None:
        uuid = notice.uuid
        if uuid in self._unsaved:
            self._outstanding[uuid], saved = self._unsaved.pop(uuid)
            saved.set()
        if uuid in self._outstanding:
            self._bus.publish(PendingEvent(id=uuid.hex(), text=self._outstanding[uuid]))

    def on_delivered(self, notice: Delivered) -> None:
        if notice.uuid in self._outstanding:
            self._bus.publish(DeliveredEvent(id=notice.uuid.hex(), acks=notice.acks))

    def on_final(self, event: FinalEvent) -> None:
        if event.mine:
            self._outstanding.pop(bytes.fromhex(event.id), None)

    def events(self) -> list[AnyEvent]:
        """What is pending, for a subscriber that comes later."""
        return [PendingEvent(id=uuid.hex(), text=text) for uuid, text in self._outstanding.items()]
