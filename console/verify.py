"""`verify`: is a file true, is everything on this disk what was agreed, to the last byte and signature?"""

from pathlib import Path

import trio

from console.ndjson import JsonScreen
from console.out import Out
from console.sanitize import one_line
from console.settings import Settings
from node.config import Home, RoomConfig
from node.errors import Exit, NodeError
from node.events import Event


class VerdictEvent(Event, frozen=True, tag="verdict"):
    """What a check found; for a whole store only `ok`, `reason` and `room` say something."""

    ok: bool
    reason: str
    room: str
    kind: str | None = None
    """Of evidence: what was signed."""
    index: int | None = None
    member: str | None = None
    nick: str | None = None
    text: str | None = None


async def verify_file(settings: Settings, *, path: Path) -> int:
    """0: it holds; 1: altered; 6: about another room; 8: unreadable, another version's, or no --room."""
    from node.verdict import judge, read_file

    data = await trio.to_thread.run_sync(read_file, path, abandon_on_cancel=True)
    verdict = await trio.to_thread.run_sync(lambda: judge(data, room=settings.room), abandon_on_cancel=True)
    await _tell(
        settings,
        VerdictEvent(
            ok=verdict.ok,
            reason=verdict.reason,
            room=verdict.room,
            kind=verdict.kind or None,
            member=verdict.member or None,
            nick=verdict.nick or None,
        ),
    )
    return verdict.exit


async def verify_store(settings: Settings, *, path: Path | None) -> int:
    """0: sound; 1: altered, each place named; 7: sound, and it holds evidence; 6, 8: could not be checked."""
    from node.offline import check_store, count_evidence

    home = Home.at(settings.home)
    room = _room(home, settings.room)
    problems = await trio.to_thread.run_sync(
        lambda: check_store(home, room, path=path), abandon_on_cancel=True
    )
    if problems:
        for problem in problems:
            await _say(settings, room, ok=False, reason=_with_block(problem.sentence, problem.height))
        return Exit.NO
    evidence = 0
    if path is None:
        evidence = await trio.to_thread.run_sync(count_evidence, home, room)
    if evidence:
        reason = f"The record is sound. It holds {evidence} piece{'s' * (evidence > 1)} of evidence of lies."
        await _say(settings, room, ok=True, reason=reason)
        return Exit.BYZANTINE
    await _say(settings, room, ok=True, reason="The record is sound: every hash and every signature holds.")
    return Exit.DONE


def _room(home: Home, wanted: str | None) -> RoomConfig:
    try:
        return home.room(wanted)
    except NodeError as error:
        if error.exit_code is Exit.NO:  # which would say here that something was altered
            raise NodeError(error.message, error.hint, exit_code=Exit.COULD_NOT_CHECK) from error
        raise


def _with_block(sentence: str, height: int | None) -> str:
    """The sentence, which names the block wherever one is known."""
    if height is None or f"block {height}" in sentence.lower():
        return sentence
    return f"Block {height}: {sentence}"


async def _say(settings: Settings, room: RoomConfig, *, ok: bool, reason: str) -> None:
    await _tell(settings, VerdictEvent(ok=ok, reason=reason, room=room.fingerprint))


async def _tell(settings: Settings, verdict: VerdictEvent) -> None:
    out = Out(settings)
    if settings.json:
        await JsonScreen(out).event(verdict)
    else:
        await out.data(f"{'ok' if verdict.ok else '!'}  {one_line(verdict.reason)}\n".encode())
