"""`send` and `log`: into the record and out of it, without a chat."""

from typing import Final

import msgspec
import trio

from console.lines import MAX_LINE, read_stdin
from console.ndjson import LoggedEvent
from console.out import Out, stdin_is_terminal
from console.sanitize import one_line
from console.screen import Screen, make_screen
from console.settings import Settings
from console.talk import raise_not_reached
from node.api import NodeApi
from node.config import Home, RoomConfig
from node.control import connect_control
from node.errors import Exit, TimedOut, Unreachable, UsageError
from node.events import DeliveredEvent, FinalEvent, PendingEvent, RoomEvent

DEFAULT_TIMEOUT: Final = 30.0
ACCEPT_PATIENCE: Final = 5.0
"""Seconds a running node may take to queue a message, however short --timeout is: only then it is safe."""
MAX_STDIN: Final = 64 * 1024  # bytes; below that the node says what is too long


async def send(settings: Settings, *, text: str, wait: str) -> int:
    """Say one message and wait until it is `wait`: 0, or 5 or 3 when that took too long."""
    if text == "-":
        if stdin_is_terminal():
            await Out(settings).urgent("Type the message, then Enter and Ctrl-D:")
        text = await trio.to_thread.run_sync(_read_stdin, abandon_on_cancel=True)
    check_utf8(text)
    screen = make_screen(settings)
    home = Home.at(settings.home)
    room = home.room(settings.room)
    node = await connect_control(home, room)
    if node is not None:
        timeout = DEFAULT_TIMEOUT if settings.timeout is None else settings.timeout
        return await send_through(node, screen, text, wait=wait, timeout=timeout)
    from node.offline import queue_offline

    said = await trio.to_thread.run_sync(queue_offline, home, room, text)
    await screen.event(PendingEvent(id=said, text=text))
    if wait == "pending":
        return Exit.DONE
    raise TimedOut(
        "The node of this room is not running, so the message waits on this disk.",
        "Start it with `pigeon chat` or `pigeon up`; do not send the message again.",
    )


async def send_through(node: NodeApi, screen: Screen, text: str, *, wait: str, timeout: float) -> int:
    """As `send`; Unreachable when the node stops, or does not even queue the message."""
    began, said = trio.current_time(), None
    with trio.move_on_after(max(timeout, ACCEPT_PATIENCE)) as patience:
        async with node.events() as events:
            said = await node.say(text)
            await screen.event(PendingEvent(id=said, text=text))
            if wait == "pending":
                return Exit.DONE
            patience.deadline = began + timeout
            async for event in events:
                if isinstance(event, RoomEvent):
                    await screen.know(event)
                if isinstance(event, DeliveredEvent | FinalEvent) and event.id == said:
                    await screen.event(event)
                    if wait == "delivered" or isinstance(event, FinalEvent):
                        return Exit.DONE
            raise Unreachable(
                "The node stopped before that.", "The message is safe on this disk: do not send it again."
            )
    if said is None:
        raise Unreachable(
            "The node does not answer, so it is not known whether the message was queued.",
            "End it, start it again with `pigeon up`, and look at `pigeon log` before you send it again.",
        )
    with trio.move_on_after(ACCEPT_PATIENCE):
        status = await node.status()
        raise_not_reached(wait, up=status.up, quorum=status.quorum)
    raise Unreachable(
        "The node does not answer any more.", "The message is safe on this disk: do not send it again."
    )


def check_utf8(text: str) -> None:
    """UsageError for what the shell passed and is not text."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError("The message is not valid UTF-8.", "Send text only.") from None


def _read_stdin() -> str:
    data = read_stdin(MAX_STDIN)
    if len(data) > MAX_STDIN:
        raise UsageError(
            f"The message has more than {MAX_STDIN} bytes; at most {MAX_LINE} are allowed.",
            "Send it in parts.",
        )
    try:
        return data.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        raise UsageError("Standard input is not valid UTF-8.", "Send text only.") from None


async def log(settings: Settings) -> int:
    """Every final message, from the beginning, whether the node runs or not; rooms before it come first."""
    from node.offline import read_log
    from node.succession import lineage

    home = Home.at(settings.home)
    line = lineage(home, home.room(settings.room))
    screen = make_screen(settings)
    if line.missing is not None:
        await screen.notice(f"{one_line(line.rooms[0].name)} continues {one_line(line.missing.in_words)}.")
    for number, room in enumerate(line.rooms):
        if number and not settings.json:
            before = line.rooms[number - 1]
            await Out(settings).data(seam(before.name, room.name).encode())
        for event in read_log(home, room):
            await screen.event(logged(event, room) if settings.json else event)
    return Exit.DONE


def logged(event: FinalEvent, room: RoomConfig) -> LoggedEvent:
    return LoggedEvent(**msgspec.structs.asdict(event), room=room.fingerprint)


def seam(before: str, after: str) -> str:
    """The line between two rooms of one line of succession."""
    return f"--- room {one_line(before)} ends here; room {one_line(after)} continues it ---\n"
