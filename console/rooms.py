"""The verbs that open a room and stay in it: new, join, chat, up."""

import getpass
from typing import Final

import trio

from console.chat import Chat, converse
from console.lines import Line, LineReader
from console.plain import LEGEND
from console.screen import Out, Screen, make_screen, stdin_is_terminal
from console.settings import Settings
from console.welcome import AUTO_WARNING, SIGNED_FOR_GOOD, how_to_join, numbers, waiting_for_admission
from node.config import Home
from node.control import connect_control
from node.errors import Exit, TimedOut, Unreachable, UsageError
from node.node import create_room, open_node, read_invitation

_SHOWN_AGAIN: Final = 10  # items, when a chat is reopened


async def new(
    settings: Settings,
    *,
    name: str,
    nick: str | None,
    via: tuple[str, ...],
    rule: str,
    max_peers: int,
    headless: bool,
) -> int:
    """Make a room, say what that means, invite, and talk."""
    home, screen = Home.at(settings.home), make_screen(settings)
    room = await create_room(
        home,
        name=name,
        nick=nick or login_name(),
        rule="auto" if rule == "auto" else "ask",
        via=via,
        max_peers=max_peers,
    )
    await screen.notice(f"{SIGNED_FOR_GOOD}\n{numbers(1)}")
    if rule == "auto":
        await screen.notice(AUTO_WARNING)
    async with open_node(home, room) as node:
        await screen.notice(how_to_join(via))
        lines = await _chat_line(screen, headless=headless)
        await converse(node, screen, lines, timeout=settings.timeout, since=0, invite=True)
    return Exit.DONE


async def join(
    settings: Settings, *, token: str | None, nick: str | None, via: tuple[str, ...], headless: bool
) -> int:
    """Be let in, then talk. With `-` the first line of standard input is the invitation; messages follow."""
    home, screen, lines = Home.at(settings.home), make_screen(settings), LineReader()
    if token is None or token == "-":
        if stdin_is_terminal():
            await Out(settings).urgent("Paste the invitation:")
        token = await _first_line(lines)
    invitation = read_invitation(token.strip())
    name = nick or login_name()
    await screen.notice(f"{SIGNED_FOR_GOOD}\n{waiting_for_admission(name)}")
    async with open_node(home, invitation, nick=name, via=via) as node:
        chat = Chat(node, screen)
        async with node.events(since=0) as events, trio.open_nursery() as nursery:
            nursery.start_soon(chat.show, events)
            with trio.move_on_after(
                float("inf") if settings.timeout is None else settings.timeout
            ) as waiting:
                await node.wait_admitted()
            if waiting.cancelled_caught:
                raise_not_admitted(reached=chat.heard_words)
            if headless:
                await trio.sleep_forever()
            await _chat_line(screen, headless=False)
            await chat.talk(lines, timeout=settings.timeout)
            nursery.cancel_scope.cancel()
    return Exit.DONE


async def chat(settings: Settings, *, via: tuple[str, ...]) -> int:
    """Reopen a room, or attach to the process that has it open."""
    home, screen = Home.at(settings.home), make_screen(settings)
    room = home.room(settings.room)
    running = await connect_control(home, room)
    if running is None:
        async with open_node(home, room, via=via) as node:
            lines = await _chat_line(screen, headless=False)
            since = _recent(settings, (await node.status()).index)
            await converse(node, screen, lines, timeout=settings.timeout, since=since)
        return Exit.DONE
    if via:
        raise UsageError(
            "The room is open already, so its carriers cannot be changed now.",
            "End that process first, or leave out --via.",
        )
    lines = await _chat_line(screen, headless=False)
    since = _recent(settings, (await running.status()).index)
    await converse(running, screen, lines, timeout=settings.timeout, since=since)
    return Exit.DONE


async def up(settings: Settings, *, via: tuple[str, ...]) -> int:
    """Run the node and show what happens, until a signal."""
    home, screen = Home.at(settings.home), make_screen(settings)
    async with open_node(home, home.room(settings.room), via=via) as node:
        await converse(node, screen, None, timeout=None)
    return Exit.DONE


def login_name() -> str:
    """Who one is without --as."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        raise UsageError("Your name in the room is missing.", "Give it with --as NICK.") from None


def raise_not_admitted(*, reached: bool) -> None:
    """Nobody let us in within --timeout."""
    if reached:
        raise TimedOut("The members did not let you in in time.", "Ask them, and join again.")
    raise Unreachable(
        "No member of the room was reached in time.",
        "Check that one of them has the room open and that --via names a carrier both of you reach.",
    )


def _recent(settings: Settings, index: int) -> int | None:
    """From where on final messages are shown again to people; scripts have `log` for that."""
    return None if settings.json else max(0, index - _SHOWN_AGAIN)


async def _chat_line(screen: Screen, *, headless: bool) -> LineReader | None:
    if headless:
        return None
    if stdin_is_terminal():
        await screen.notice(f"{LEGEND}\nType a line to say it; /help lists commands, Ctrl-C ends.")
    return LineReader()


async def _first_line(lines: LineReader) -> str:
    line = await lines.next()
    if not isinstance(line, Line) or not line.text.strip():
        raise UsageError(
            "There is no invitation on standard input.",
            "Give the line that begins with pigeon: as the first one.",
        )
    return line.text
