"""Every check there is, run side by side, each with a deadline: none waits for another, or hangs the rest."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import trio

from node.doctor.carriers import check_carrier, no_carrier
from node.doctor.finding import Finding, problem
from node.doctor.home import check_home, check_keys, check_room
from node.doctor.machine import check_clock, check_sockets, check_version
from node.doctor.network import check_network
from node.doctor.servers import check_servers
from node.doctor.subject import Subject

WITHIN: Final = 10.0

Check = Callable[[], Awaitable[list[Finding]]]
OnProgress = Callable[[int, int], Awaitable[None]]


async def diagnose(
    subject: Subject, *, within: float = WITHIN, on_progress: OnProgress | None = None
) -> list[Finding]:
    """What all checks found, in the order of the table; takes at most `within` seconds.

    on_progress(done, all): after each check. Nothing is changed, and no server asked that is not named.
    """
    return await run_checks(_table(subject), within=within, on_progress=on_progress)


def _table(subject: Subject) -> list[tuple[str, Check]]:
    """What each check is called where it does not come to an end."""
    return [
        ("version", _blocking(check_version)),
        ("clock", _blocking(partial(check_clock, subject))),
        ("home", _blocking(partial(check_home, subject))),
        ("keys", _blocking(partial(check_keys, subject))),
        ("room", partial(check_room, subject)),
        ("sockets", _blocking(check_sockets)),
        ("network", partial(check_network, asks_servers=bool(subject.ice.stun or subject.ice.turn_file))),
        ("servers", partial(check_servers, subject)),
        ("carriers", _blocking(partial(no_carrier, subject))),
        *((spec, partial(check_carrier, spec, subject)) for spec in subject.via),
    ]


def _blocking(check: Callable[[], list[Finding]]) -> Check:
    """In a thread that is left behind when it hangs: disks do."""
    return partial(trio.to_thread.run_sync, check, abandon_on_cancel=True)


async def run_checks(
    table: list[tuple[str, Check]], *, within: float, on_progress: OnProgress | None = None
) -> list[Finding]:
    """As `diagnose`."""
    found: list[list[Finding]] = [[] for _ in table]
    done = 0

    async def run(number: int, what: str, check: Check) -> None:
        nonlocal done
        with trio.move_on_after(within) as patience:
            found[number] = await check()
        if patience.cancelled_caught:
            found[number] = [
                problem(
                    what,
                    f"This could not be told within {within:g} s.",
                    cause="Something that it needs does not answer: a drive, a name server, or the network.",
                    cure="Look at that first; then try again, with a longer --timeout perhaps.",
                )
            ]
        done += 1
        if on_progress is not None:
            await on_progress(done, len(table))

    async with trio.open_nursery() as nursery:
        for number, (what, check) in enumerate(table):
            nursery.start_soon(run, number, what, check)
    return [each for findings in found for each in findings]
