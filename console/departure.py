"""The verbs by which a room gets smaller: remove and leave."""

from typing import Final

import trio

from console.lines import typed_yes
from console.out import Out, stdin_is_terminal
from console.questions import running_node
from console.sanitize import one_line
from console.screen import Screen, make_screen
from console.settings import Settings
from node.api import NodeApi
from node.errors import Exit, NodeError, NoQuorum, TimedOut
from node.events import RemovalEvent, RemovedEvent, RoomEvent, StatusEvent

LEAVE_TIMEOUT: Final = 30.0
_ANSWER: Final = 10.0  # seconds for a last question


async def remove(settings: Settings, *, who: str) -> int:
    """Be for removing a member; on a terminal only after a question."""
    screen = make_screen(settings)
    async with running_node(settings) as node:
        room, status = await node.room(), await node.status()
    await screen.know(room)
    if warning := what_removal_means(status, who):
        await screen.notice(warning)
    if not await _agreed(settings, f"Remove {one_line(who)} from room {one_line(room.room)}?"):
        raise NodeError("Nobody was removed.", "Say yes, or give --yes.", exit_code=Exit.NO)
    async with running_node(settings) as node:
        await screen.event(await node.remove(who))
    return Exit.DONE


async def leave(settings: Settings) -> int:
    """Ask to be let go and wait until that is agreed: 0, or 5 or 3 when it took too long."""
    screen = make_screen(settings)
    timeout = LEAVE_TIMEOUT if settings.timeout is None else settings.timeout
    async with running_node(settings) as node:
        room, status = await node.room(), await node.status()
    await screen.know(room)
    await screen.notice(what_leaving_means(room))
    if room.n > 1 and not await _agreed(settings, f"Leave room {one_line(room.room)}?"):
        raise NodeError("You are still a member.", "Say yes, or give --yes.", exit_code=Exit.NO)
    async with running_node(settings, patience=timeout + _ANSWER) as node:
        with trio.move_on_after(timeout):
            await _leave_through(node, screen, me=room.me)
            return Exit.DONE
        status = await node.status()
    hint = "It stays asked for: keep the node running until the others are up, and see `pigeon status`."
    if status.up < status.quorum:
        raise NoQuorum(f"Only {status.up} of the {status.quorum} members that are needed are up.", hint)
    raise TimedOut("The others did not let you go in time.", hint)


async def _leave_through(node: NodeApi, screen: Screen, *, me: str) -> None:
    """Until we are out. The stream begins before we ask, so nothing is missed."""
    async with node.events(watching=True) as events:
        await screen.event(await node.leave())
        async for event in events:
            if isinstance(event, RemovalEvent | RemovedEvent) and event.member == me:
                await screen.event(event)
                if isinstance(event, RemovedEvent):
                    return


def what_removal_means(status: StatusEvent, who: str) -> str:
    """What to know before a member is removed; empty when there is nothing special."""
    target = next((link for link in status.links if _is_meant(link.nick, link.member, who)), None)
    if target is None:
        return ""  # the node says that there is nobody of that name
    if status.n <= 3:
        return (
            f"With {status.n} members a removal needs all of them online and for it, {one_line(target.nick)} "
            "too.\nIf that cannot be, go on in a new room: pigeon new NAME --continues ROOM"
        )
    return ""


def what_leaving_means(room: RoomEvent) -> str:
    if room.n <= 3:
        return f"With {room.n} members everyone must be online for one to leave."
    return "What you said stays in everybody's record, and yours stays readable."


def _is_meant(nick: str, member: str, who: str) -> bool:
    return nick.casefold() == who.casefold() or (len(who) >= 4 and member.startswith(who.lower()))


async def _agreed(settings: Settings, question: str) -> bool:
    """Ask on a terminal; a script has decided already."""
    if settings.yes or not stdin_is_terminal():
        return True
    await Out(settings).urgent(f"{question} Type yes:")
    return await typed_yes()
