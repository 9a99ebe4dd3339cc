"""The verb `evidence`: which keys signed twice, and the files that show it to a stranger."""

from pathlib import Path

import trio

from console.out import Out
from console.sanitize import one_line
from console.screen import make_screen
from console.settings import Settings
from node.config import Home, write_whole
from node.errors import Exit, NodeError
from node.events import EvidenceEvent
from node.offline import Caught, caught_members

MEANS = (
    "It shows what these keys signed, not who lied: a backup that was restored looks the same. A key that\n"
    "signed twice is not listened to any more; `pigeon remove NICK` is for removing its member."
)


async def evidence(settings: Settings, *, out: Path | None) -> int:
    """List it, or write it: 0; 1 when there is none."""
    home = Home.at(settings.home)
    room = home.room(settings.room)
    found = await trio.to_thread.run_sync(caught_members, home, room, abandon_on_cancel=True)
    if not found:
        raise NodeError("Nobody was caught signing twice.", "There is nothing to show.", exit_code=Exit.NO)
    files = await trio.to_thread.run_sync(_write, found, out) if out is not None else [""] * len(found)
    screen, plain = make_screen(settings), Out(settings)
    for each, file in zip(found, files, strict=True):
        if settings.json:
            await screen.event(EvidenceEvent(member=each.member, nick=each.nick, kind=each.kind, file=file))
        else:
            await plain.data(f"{in_a_line(each, file)}\n".encode())
    await screen.notice(MEANS)
    return Exit.DONE


def in_a_line(caught: Caught, file: str) -> str:
    """Whose key, what, where, and the file if one was written."""
    who = f"{one_line(caught.nick)} ({caught.member[:16]})" if caught.member else "no single key"
    where = f" ({caught.where})" if caught.where else ""
    to = f" -> {one_line(file)}" if file else ""
    return f"{who}: {one_line(caught.kind)}{where}{to}"


def _write(found: list[Caught], out: Path) -> list[str]:
    """One file for each piece of evidence that can be shown; the path where each is, "" where it cannot."""
    paths: dict[bytes, str] = {}
    for each in found:
        if each.file is not None and each.file not in paths:
            number = len(paths) + 1
            path = out if number == 1 else out.with_name(f"{out.stem}-{number}{out.suffix}")
            write_whole(path, each.file)
            paths[each.file] = str(path)
    if not paths:
        raise NodeError(
            "This record lacks a part of what shows it to a stranger.",
            "Run the node until it has fetched everything, or ask another member.",
        )
    return ["" if each.file is None else paths[each.file] for each in found]
