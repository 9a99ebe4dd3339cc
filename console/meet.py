"""`meet`: a room of two with whoever else asks a hub for the same namespace, and then the chat."""

from contextlib import suppress
from pathlib import Path

import trio

from console.chat import converse
from console.lines import LineReader
from console.rooms import chat_help, login_name
from console.screen import Screen, make_screen
from console.settings import Settings
from console.welcome import numbers, signed_for_good
from node.config import Home
from node.errors import Exit
from node.events import NoticeEvent, WordsEvent
from node.ice_servers import IceOptions
from node.meet import Tell, hub_address, open_meeting
from node.meet_keys import party_of
from node.node import Node

GUESSABLE = """\
Whoever knows the namespace may be the one you meet, and whoever can guess it can read your addresses at the
hub: agree on something that nobody guesses, or trust only keys that you know (--key, --trust)."""


async def meet(
    settings: Settings,
    *,
    hub: str,
    namespace: str,
    nick: str | None,
    key: Path | None,
    trust: tuple[Path, ...],
    ice: IceOptions,
    headless: bool,
) -> int:
    """Wait for somebody, show the safety words, talk. `key` is made where there is no such file."""
    home, screen = Home.at(settings.home), make_screen(settings)
    name = login_name() if nick is None else nick
    url = hub_address(hub)
    party = await trio.to_thread.run_sync(party_of, namespace, key, trust)
    if not trust:
        await screen.notice(GUESSABLE)
    if party.key is not None:
        await screen.notice(f"Your public key: {bytes(party.key.verify_key).hex()} (in {key}.pub)")
    await screen.notice(signed_for_good(relay_only=bool(ice.relay_only)))
    async with trio.open_nursery() as nursery:
        tell = _teller(screen, nursery)
        tell(f"Asking {url} for somebody in {namespace}; Ctrl-C ends.")
        async with open_meeting(
            home, hub=url, party=party, nick=name, ice=ice, timeout=settings.timeout, tell=tell
        ) as node:
            await _introduce(node, screen)
            await converse(
                node,
                screen,
                None if headless else LineReader(),
                timeout=settings.timeout,
                since=0,
                greeting="\n".join(chat_help(headless=headless)),
            )
        nursery.cancel_scope.cancel()
    return Exit.DONE


def _teller(screen: Screen, nursery: trio.Nursery) -> Tell:
    """What is told while we wait is shown in order, by one task of that nursery."""
    put, take = trio.open_memory_channel[str](64)

    async def show() -> None:
        async for message in take:
            await screen.event(NoticeEvent(message=message))

    def tell(message: str) -> None:
        with suppress(trio.WouldBlock):  # nobody reads them
            put.send_nowait(message)

    nursery.start_soon(show)
    return tell


async def _introduce(node: Node, screen: Screen) -> None:
    """Who is there, and the words to compare."""
    room = await node.room()
    await screen.know(room)
    for member in await node.who():
        if member.member != room.me:
            await screen.event(WordsEvent(member=member.member, words=member.words))
    await screen.notice(numbers(room.n))
