"""The verbs that ask a running node one thing, and `id`, which asks the disk."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import trio

from console.asking import WAYS_BACK, token_given
from console.lines import LineReader, typed_yes
from console.ndjson import IdEvent
from console.out import Out, stdin_is_terminal
from console.sanitize import one_line
from console.screen import Screen, make_screen
from console.settings import Settings
from console.welcome import continues_text, safety_words, taken
from node.api import MemberView, NodeApi
from node.config import Home
from node.control import connect_control
from node.errors import Exit, NodeError, TimedOut, Unreachable
from node.events import AnyEvent, NoticeEvent, PeerEvent, TokenEvent

_ANSWERS_WITHIN: Final = 6.0  # seconds that `carry` looks for what becomes of an offer


@asynccontextmanager
async def running_node(settings: Settings, *, patience: float | None = None) -> AsyncIterator[NodeApi]:
    """The room's node through its socket; Unreachable when there is none, TimedOut when it is silent.

    `patience`: seconds for the whole block; without it --timeout, or 10.
    """
    home = Home.at(settings.home)
    room = home.room(settings.room)
    if patience is None:
        patience = 10.0 if settings.timeout is None else settings.timeout
    with trio.move_on_after(patience) as scope:
        node = await connect_control(home, room)
        if node is None:
            raise Unreachable(
                f"The node of room {room.name} is not running.",
                "Start it with `pigeon chat` or `pigeon up`.",
            )
        yield node
    if scope.cancelled_caught:
        raise TimedOut("The node did not answer in time.", "Try again, or give a longer --timeout.")


async def who(settings: Settings) -> int:
    async with running_node(settings) as node:
        members, room = await node.who(), await node.room()
    await make_screen(settings).members(members)
    if room.parent and not settings.json:
        await Out(settings).note(continues_text(room))
    return Exit.DONE


async def status(settings: Settings, *, why: bool) -> int:
    async with running_node(settings) as node:
        answer = await node.status()
    await make_screen(settings).status(answer, why=why)
    return Exit.DONE


async def invite(settings: Settings, *, qr_out: Path | None) -> int:
    screen = make_screen(settings, qr_out=qr_out)
    async with running_node(settings) as node:
        invitation, room, status = await node.invite(), await node.room(), await node.status()
    await screen.know(room)
    for note in status.notes:
        if note.startswith(tuple(f"{spec}: " for spec in room.via)):
            await screen.notice(note)  # nobody can be reached by that one now
    await screen.event(invitation)
    return Exit.DONE


async def carry(settings: Settings, *, token: str | None, scan: Path | None) -> int:
    """Hand over what came back; of an offer, show the answer that has to go back where no link comes up."""
    async with running_node(settings):
        pass  # nobody should be asked to paste something in vain
    text = await token_given(settings, token, scan, lines=LineReader(), wanted=WAYS_BACK)
    screen = make_screen(settings)
    async with running_node(settings) as node, node.events(watching=False) as events:
        kind = await node.carry(text)
        await screen.event(NoticeEvent(message=taken(kind)))
        if kind == "offer":
            with trio.move_on_after(_ANSWERS_WITHIN):
                await _show_answer(screen, events)
    return Exit.DONE


async def _show_answer(screen: Screen, events: AsyncIterator[AnyEvent]) -> None:
    """The answer, as soon as there is one, for scripts; people see it if no link comes up by itself."""
    answer = None
    try:
        async for event in events:
            match event:
                case TokenEvent(kind="answer") if screen.for_people:
                    answer = event
                case TokenEvent(kind="answer"):
                    await screen.event(event)
                case PeerEvent(state="up"):
                    answer = None
                    await screen.event(event)
                    return
                case _:
                    pass
    finally:
        if answer is not None:
            with trio.CancelScope(shield=True):
                await screen.event(answer)


async def admit(settings: Settings, *, who: str) -> int:
    """Approve somebody; on a terminal only after the safety words were compared.

    Who is not whom this home would expect is told of everywhere.
    """
    async with running_node(settings) as node:
        asking = [each for each in await node.who() if each.state == "asks" and _is_meant(each, who)]
    if asking and asking[0].words and stdin_is_terminal() and not settings.yes:
        await _confirm(settings, asking[0])
    elif asking and asking[0].remark:
        await Out(settings).urgent(f"! {one_line(asking[0].remark)}")
    async with running_node(settings) as node:
        view = await node.admit(who)
    await make_screen(settings).approved(view)
    return Exit.DONE


def _is_meant(view: MemberView, who: str) -> bool:
    return view.nick.casefold() == who.casefold() or (len(who) >= 4 and view.member.startswith(who.lower()))


async def _confirm(settings: Settings, view: MemberView) -> None:
    out = Out(settings)
    if view.remark:
        await out.urgent(f"! {one_line(view.remark)}")
    await out.urgent(
        f"{one_line(view.nick)} asks to be let in. {safety_words(view.words, between='them and you')}"
    )
    await out.urgent("Do they see the same words? Type yes:")
    if not await typed_yes():
        raise NodeError("Nobody was let in.", "Compare the words and try again.", exit_code=Exit.NO)


async def identity(settings: Settings) -> int:
    """My identity's fingerprint."""
    from node.keys import load_key

    try:
        key = load_key(Home.at(settings.home).identity_file, purpose="identity").verify_key.encode().hex()
    except FileNotFoundError:
        raise NodeError(
            "There is no identity here yet.",
            "`pigeon new` and `pigeon join` make one.",
            exit_code=Exit.NO,
        ) from None
    screen = make_screen(settings)
    if settings.json:
        await screen.event(IdEvent(member=key))
    else:
        await Out(settings).data(f"{key}\n".encode())
    return Exit.DONE
