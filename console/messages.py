"""`send` and `log`: into the record and out of it, without a chat."""

import sys
from typing import Final

import trio

from console.chat import raise_not_final
from console.screen import Screen, make_screen
from console.settings import Settings
from node.api import NodeApi
from node.config import Home
from node.control import connect_control
from node.errors import Exit, TimedOut, Unreachable, UsageError
from node.events import DeliveredEvent, FinalEvent, PendingEvent

DEFAULT_TIMEOUT: Final = 30.0
MAX_STDIN: Final = 64 * 1024  # bytes; the node says what is too long
_REACHED: Final = {"pending": 0, "delivered": 1, "final": 2}


async def send(settings: Settings, *, text: str, wait: str) -> int:
    """Say one message and wait until it is `wait`: 0, or 5 or 3 when that took too long."""
    if text == "-":
        text = await trio.to_thread.run_sync(_read_stdin, abandon_on_cancel=True)
    check_utf8(text)
    screen = make_screen(settings)
    home = Home.at(settings.home)
    room = home.room(settings.room)
    node = await connect_control(home, room)
    if node is not None:
        timeout = DEFAULT_TIMEOUT if settings.timeout is None else settings.timeout
        return await _send(node, screen, text, wait=wait, timeout=timeout)
    from node.offline import queue_offline

    said = await trio.to_thread.run_sync(queue_offline, home, room, text)
    await screen.event(PendingEvent(id=said, text=text))
    if wait == "pending":
        return Exit.DONE
    raise TimedOut(
        "The node of this room is not running, so the message waits on this disk.",
        "Start it with `pigeon chat` or `pigeon up`; do not send the message again.",
    )


async def _send(node: NodeApi, screen: Screen, text: str, *, wait: str, timeout: float) -> int:
    with trio.move_on_after(timeout):
        async with node.events() as events:
            said = await node.say(text)
            async for event in events:
                if not isinstance(event, PendingEvent | DeliveredEvent | FinalEvent) or event.id != said:
                    continue
                await screen.event(event)
                reached = {PendingEvent: 0, DeliveredEvent: 1, FinalEvent: 2}[type(event)]
                if reached >= _REACHED[wait]:
                    return Exit.DONE
            raise Unreachable(
                "The node stopped before that.", "The message is safe on this disk: do not send it again."
            )
    with trio.move_on_after(5):
        status = await node.status()
        raise_not_final(up=status.up, quorum=status.quorum)
    raise Unreachable("The node does not answer.", "End it and start it again with `pigeon up`.")


def check_utf8(text: str) -> None:
    """UsageError for what the shell passed and is not text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError("The message is not valid UTF-8.", "Send text only.") from None


def _read_stdin() -> str:
    data = sys.stdin.buffer.read(MAX_STDIN)
    try:
        return data.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise UsageError("Standard input is not valid UTF-8.", "Send text only.") from None


async def log(settings: Settings) -> int:
    """Every final message, from the beginning, whether the node runs or not."""
    from node.offline import read_log

    home = Home.at(settings.home)
    room = home.room(settings.room)
    screen = make_screen(settings)
    for event in read_log(home, room):
        await screen.event(event)
    return Exit.DONE
