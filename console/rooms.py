"""The verbs that open a room and stay in it: new, join, chat, up."""

import getpass
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

import trio

from console.asking import WAYS_IN, token_given
from console.chat import Chat, converse
from console.lines import LineReader
from console.out import stdin_is_terminal
from console.plain import LEGEND
from console.sanitize import one_line
from console.screen import Screen, make_screen
from console.secret import Door, password_in
from console.settings import Settings
from console.welcome import (
    AUTO_WARNING,
    NOTHING_SHOWN,
    PASSWORD_ASKED,
    how_to_continue,
    how_to_join,
    numbers,
    signed_for_good,
    waiting_for_admission,
)
from node.api import NodeApi
from node.config import Home, RoomConfig
from node.control import connect_control
from node.errors import Exit, TimedOut, Unreachable, UsageError
from node.ice_servers import IceOptions, IceServers
from node.lobby import await_offer, look_into, missing_folders, places_of, shows_nothing, shows_offers
from node.node import Way, create_room, open_node, read_invitation
from node.tokens import drawn_as_pictures

_SHOWN_AGAIN: Final = 10  # items, when a chat is reopened


async def new(
    settings: Settings,
    *,
    name: str,
    nick: str | None,
    via: tuple[str, ...],
    rule: str,
    max_peers: int,
    continues: str | None,
    password_file: Path | None,
    qr_out: Path | None,
    ice: IceOptions,
    offer_life: int | None,
    headless: bool,
) -> int:
    """Make a room, say what that means, invite, and talk."""
    home, screen = Home.at(settings.home), make_screen(settings, qr_out=qr_out)
    old = None if continues is None else home.room(continues)
    await tell_missing(screen, via, fresh=True)
    room = await create_room(
        home,
        name=name,
        nick=login_name() if nick is None else nick,
        rule="auto" if rule == "auto" else "ask",
        via=via,
        max_peers=max_peers,
        continues=old,
        password=await password_in(password_file),
        ice=ice.over(IceServers() if old is None else old.ice),  # who hid an address there does so here
    )
    await screen.notice(f"{signed_for_good(relay_only=room.relay_only)}\n{numbers(1)}")
    if old is not None:
        await screen.notice(how_to_continue(old.name))
    if rule == "auto":
        await screen.notice(AUTO_WARNING)
    if password_file is not None:
        await screen.notice(PASSWORD_ASKED)
    async with open_node(home, room, offer_life=offer_life) as node:
        await converse(
            node,
            screen,
            None if headless else LineReader(),
            timeout=settings.timeout,
            since=0,
            greeting="\n".join(chat_help(headless=headless)),
            invite=True,
            how_to_join=how_to_join(via),
        )
    return Exit.DONE


async def join(
    settings: Settings,
    *,
    token: str | None,
    nick: str | None,
    via: tuple[str, ...],
    scan: Path | None,
    password_file: Path | None,
    qr_out: Path | None,
    ice: IceOptions,
    offer_life: int | None,
    headless: bool,
) -> int:
    """Be let in, then talk. With `-` standard input begins with the invitation; messages follow."""
    home, lines = Home.at(settings.home), LineReader()
    screen = make_screen(settings, qr_out=qr_out, draw=scan is not None or drawn_as_pictures(via))
    way = await _way_in(settings, screen, token, scan, via=via, lines=lines)
    name = login_name() if nick is None else nick
    await tell_missing(screen, places_of(way, via))
    known = home.find(way.room.hex())
    relay_only = ice.relay_only if ice.relay_only is not None else known is not None and known.relay_only
    await screen.notice(f"{signed_for_good(relay_only=relay_only)}\n{waiting_for_admission(name)}")
    door = Door(settings, lines, given=await password_in(password_file))
    coming = partial(open_node, home, way, nick=name, via=via, offer_life=offer_life, ice=ice)
    async with coming(password=door.password) as node:
        chat = Chat(node, screen, watching=not headless)
        async with node.events(since=0, watching=not headless) as events, trio.open_nursery() as nursery:
            nursery.start_soon(partial(chat.show, events, since=0, nursery=nursery))
            talk = chat.talk(admitted=False)

            async def listen() -> None:
                await talk.run(lines, timeout=settings.timeout)
                nursery.cancel_scope.cancel()

            door.open(None if headless else talk)
            if not headless:
                nursery.start_soon(listen)
            with trio.move_on_after(
                float("inf") if settings.timeout is None else settings.timeout
            ) as waiting:
                await node.wait_admitted()
            if waiting.cancelled_caught:
                raise_not_admitted(reached=chat.heard_words)
            if greeting := "\n".join(chat_help(headless=headless)):
                await screen.notice(greeting)
            await talk.on_admitted()  # and go on until there is nothing to show any more
    return Exit.DONE


async def _way_in(
    settings: Settings,
    screen: Screen,
    token: str | None,
    scan: Path | None,
    *,
    via: tuple[str, ...],
    lines: LineReader,
) -> Way:
    """The token that was given; without one a lobby whose room asks for a password, or a token after all."""
    lobby = await look_into(via) if token is None and scan is None else None
    if lobby is not None:
        name = one_line(lobby.name)
        if lobby.full:
            await screen.notice(f"The room {name} says that it is full: perhaps nobody will let you in.")
        if lobby.protected:
            await screen.notice(f"The room {name} ({lobby.room.hex()[:12]}) lets in who knows its password.")
            return lobby
        await screen.notice(
            f"The room {name} is here, but nobody gets in without an invitation: ask a member for one."
        )
    if token is None and scan is None and shows_nothing(via):
        await screen.notice(NOTHING_SHOWN)
    if token is None and scan is None and shows_offers(via):
        await screen.notice("Looking for an invitation among the pictures; Ctrl-C ends.")
        with trio.move_on_after(math.inf if settings.timeout is None else settings.timeout):
            return await await_offer(via)
        raise Unreachable(
            "No picture with an invitation came in time.",
            "Put one there, or give the token: pigeon join TOKEN.",
        )
    return read_invitation(await token_given(settings, token, scan, lines=lines, wanted=WAYS_IN))


async def chat(
    settings: Settings,
    *,
    via: tuple[str, ...],
    ice: IceOptions,
    repair: bool,
    qr_out: Path | None,
    offer_life: int | None,
) -> int:
    """Reopen a room, or attach to the process that has it open."""
    home, screen = Home.at(settings.home), make_screen(settings, qr_out=qr_out)
    room = home.room(settings.room)
    if repair:
        await mend(home, room, screen)
    running = await connect_control(home, room)
    if running is None:
        await tell_missing(screen, via or room.via)
        async with open_node(home, room, via=via, offer_life=offer_life, ice=ice) as node:
            await _reopen(settings, node, screen)
        return Exit.DONE
    if via or offer_life is not None or (ice and ice.over(room.ice) != room.ice):
        raise UsageError(
            "The room is open already, so how it connects cannot be changed now.",
            "End that process first, or leave out --via, --offer-life, --stun, --turn-file and --relay-only.",
        )
    await _reopen(settings, running, screen)
    return Exit.DONE


async def up(
    settings: Settings,
    *,
    via: tuple[str, ...],
    ice: IceOptions,
    repair: bool,
    qr_out: Path | None,
    offer_life: int | None,
) -> int:
    """Run the node and show what happens, until a signal."""
    home, screen = Home.at(settings.home), make_screen(settings, qr_out=qr_out)
    room = home.room(settings.room)
    if repair:
        await mend(home, room, screen)
    await tell_missing(screen, via or room.via)
    async with open_node(home, room, via=via, offer_life=offer_life, ice=ice) as node:
        await converse(node, screen, None, timeout=None)
    return Exit.DONE


async def tell_missing(screen: Screen, specs: Sequence[str], *, fresh: bool = False) -> None:
    """Name the folders that are made now and should have been there; `fresh`: for a new room."""
    for folder in await missing_folders(specs, fresh=fresh):
        await screen.notice(
            f"! The folder {one_line(str(folder))} is not there, so an empty one is made.\n"
            "  If others should be found in it, check its name, and that the drive is mounted."
        )


async def mend(home: Home, room: RoomConfig, screen: Screen) -> None:
    """Make a damaged room openable again, and say what was found and done."""
    from node.repair import repair

    await screen.notice((await trio.to_thread.run_sync(repair, home, room)).told())


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
        "Check that one of them has the room open, that --via names a carrier both of you reach, and that "
        "the invitation was not used before.",
    )


async def _reopen(settings: Settings, node: NodeApi, screen: Screen) -> None:
    """A chat line on a room that was open before. People see the last messages again; scripts have `log`."""
    since = None if settings.json else max(0, (await node.status()).index - _SHOWN_AGAIN)
    greeting = "\n".join(chat_help(headless=False))
    await converse(node, screen, LineReader(), timeout=settings.timeout, since=since, greeting=greeting)


def chat_help(*, headless: bool) -> list[str]:
    """What the signs mean and what one can type, for who sits at a terminal."""
    if headless or not stdin_is_terminal():
        return []
    return [LEGEND, "Type a line to say it; /help lists commands, Ctrl-C ends."]
