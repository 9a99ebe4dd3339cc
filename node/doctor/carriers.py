"""The carriers: what keeps them from moving parcels, and what lobbies show of a wrong clock."""

import time
from contextlib import suppress
from typing import Final

import trio

from node.doctor.finding import Finding, fine, problem, warning
from node.doctor.folders import check_folder
from node.doctor.hub import check_hub
from node.doctor.machine import SET_CLOCK
from node.doctor.subject import Subject
from signaling.carrier import CarrierContext
from signaling.carriers import carrier_from_spec
from signaling.description import CLOCK_SKEW
from signaling.errors import SignalError
from signaling.lobby import Lobby, LobbySession

_MAX_NAME: Final = 40


async def check_carrier(spec: str, subject: Subject) -> list[Finding]:
    """One that is to be used; a folder that hangs is left behind in its thread."""
    name, _, where = spec.partition(":")
    if not where:
        return [fine(spec, "People carry it: nothing has to be reached.")]
    if name == "hub":
        return await check_hub(spec)
    remembered = subject.room is not None and spec in subject.room.via
    findings = await trio.to_thread.run_sync(
        lambda: check_folder(spec, remembered=remembered), abandon_on_cancel=True
    )
    if name in ("dir", "log") and any(each.state != "problem" for each in findings):
        session = await _session(spec, subject)
        if session is not None:
            return _with_session(spec, findings, session)
    return findings


def no_carrier(subject: Subject) -> list[Finding]:
    """A room without one is a room that nobody reaches."""
    if subject.room is None or subject.via:
        return []
    return [
        problem(
            "carriers",
            f"Room {subject.room.name} has none.",
            cause="Nothing carries the first messages of a connection, so nobody can be met.",
            cure="Reopen it with one: pigeon chat --via dir:FOLDER",
        )
    ]


async def _session(spec: str, subject: Subject) -> LobbySession | None:
    with suppress(SignalError):  # what keeps it from being read was found already
        context = CarrierContext(room=None if subject.room is None else subject.room.room_id)
        carrier = carrier_from_spec(spec, context)
        if isinstance(carrier, Lobby):
            return await carrier.read_session()
    return None


def _with_session(spec: str, findings: list[Finding], session: LobbySession) -> list[Finding]:
    ago = time.time() - session.last_update / 1000
    if ago < -CLOCK_SKEW:
        return [
            *(each for each in findings if each.state != "ok"),
            warning(
                spec,
                f"Its lobby was refreshed {-ago / 60:,.0f} minutes from now.",
                cause="This machine's clock, or that of whoever wrote it, is wrong.",
                cure=SET_CLOCK,
            ),
        ]
    seen = "nobody refreshed it for a while" if session.is_stale(now=time.time()) else "somebody is there"
    shown = f"It is the lobby of {session.name[:_MAX_NAME]!r}: {seen}."
    return [fine(spec, f"{each.found} {shown}") if each.state == "ok" else each for each in findings]
