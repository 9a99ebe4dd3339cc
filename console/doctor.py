"""`doctor`: one line a check, with its sign and its word, and at the end what to mend first."""

import sys
from functools import partial
from typing import Final

import trio

from console.ndjson import JsonScreen
from console.out import Out
from console.sanitize import one_line
from console.settings import Settings
from node.config import Home
from node.doctor import Diagnosis, Finding, Subject, diagnose, sum_up
from node.errors import TimedOut
from node.events import Event
from node.ice_servers import IceOptions

_SIGN: Final = {"ok": "✓ ok", "warning": "! warning", "problem": "✗ problem"}
_COLOR: Final = {"ok": "32", "warning": "33", "problem": "31"}
_WIDTH: Final = 10


class CheckEvent(Event, frozen=True, tag="check"):
    """One finding."""

    what: str
    state: str
    """`ok`, `warning` or `problem`."""
    found: str
    cause: str
    cure: str


class DiagnosisEvent(Event, frozen=True, tag="diagnosis"):
    """The last line: what to mend first."""

    ok: bool
    """Nothing is a problem; `code` is the exit code."""
    code: int
    found: str
    cause: str
    cure: str
    problems: int
    warnings: int
    needs_turn: bool
    """No direct link can be made, so only a TURN server helps."""


async def doctor(settings: Settings, *, via: tuple[str, ...], ice: IceOptions) -> int:
    """Look at everything, tell it, and change nothing."""
    out = Out(settings)
    within = 10.0 if settings.timeout is None else settings.timeout

    async def progress(done: int, count: int) -> None:
        await out.progress(f"· {done} of {count} checks done")

    await out.progress("· looking")
    subject = await _subject(settings, via=via, ice=ice, within=within)
    findings = await diagnose(subject, within=within, on_progress=progress)
    diagnosis = sum_up(findings)
    if settings.json:
        await _tell_programs(JsonScreen(out), findings, diagnosis)
    else:
        await _tell_people(out, findings, diagnosis, color=settings.color and sys.stdout.isatty())
    return diagnosis.code


async def _subject(settings: Settings, *, via: tuple[str, ...], ice: IceOptions, within: float) -> Subject:
    home = Home.at(settings.home)
    look = partial(Subject.of, home, wanted=settings.room, via=via, ice=ice)
    with trio.move_on_after(within):
        return await trio.to_thread.run_sync(look, abandon_on_cancel=True)
    raise TimedOut(
        f"The settings in {home.config} could not be read within {within:g} s.",
        "The disk does not answer, it seems: look at that first, or try a longer --timeout.",
    )


async def _tell_programs(screen: JsonScreen, findings: list[Finding], diagnosis: Diagnosis) -> None:
    for each in findings:
        await screen.event(
            CheckEvent(what=each.what, state=each.state, found=each.found, cause=each.cause, cure=each.cure)
        )
    await screen.event(
        DiagnosisEvent(
            ok=not diagnosis.problems,
            code=diagnosis.code,
            found=diagnosis.found,
            cause=diagnosis.cause,
            cure=diagnosis.cure,
            problems=diagnosis.problems,
            warnings=diagnosis.warnings,
            needs_turn=diagnosis.needs_turn,
        )
    )


async def _tell_people(out: Out, findings: list[Finding], diagnosis: Diagnosis, *, color: bool) -> None:
    lines = [line for each in findings for line in finding_lines(each, color=color)]
    text = "\n".join([*lines, "", *diagnosis_lines(diagnosis)])
    await out.data(f"{text}\n".encode(sys.stdout.encoding or "utf-8", "replace"))


def finding_lines(finding: Finding, *, color: bool) -> list[str]:
    """The line of one check; why and what to do stand under it."""
    sign = f"{_SIGN[finding.state]:{_WIDTH}}"
    if color:
        sign = f"\x1b[{_COLOR[finding.state]}m{sign}\x1b[0m"
    lines = [f"{sign} {one_line(finding.what)}: {one_line(finding.found)}"]
    indent = " " * (_WIDTH + 1)
    lines += [f"{indent}{one_line(each)}" for each in (finding.cause,) if each]
    lines += [f"{indent}→ {one_line(each)}" for each in (finding.cure,) if each]
    return lines


def diagnosis_lines(diagnosis: Diagnosis) -> list[str]:
    """What all of it comes to."""
    if not diagnosis.problems and not diagnosis.warnings:
        return [diagnosis.found]
    counts = [
        f"{count} {word}{'s' if count > 1 else ''}"
        for count, word in ((diagnosis.problems, "problem"), (diagnosis.warnings, "warning"))
        if count
    ]
    first = "Mend this first" if diagnosis.problems else "It works; but know this"
    return [
        f"{' and '.join(counts)}. {first}: {one_line(diagnosis.found)}",
        *(one_line(each) for each in (diagnosis.cause, diagnosis.cure) if each),
    ]
