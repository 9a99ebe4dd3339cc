"""Tables for `who` and `status`: drawn with rich, readable without colour."""

import io

from console.sanitize import one_line
from node.api import MemberView
from node.events import StatusEvent

_WIDTH = 100
_STATES = {"me": "you", "up": "up", "down": "down", "asks": "asks to be let in"}


def members_table(members: list[MemberView], *, color: bool) -> str:
    """Who is in the room, one line each, and who asks to be let in."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for heading in ("nick", "state", "since block", "identity"):
        table.add_column(heading, justify="right" if heading == "since block" else "left")
    for each in members:
        state = _STATES.get(each.state, one_line(each.state))
        if each.state == "asks":
            state = "asks for a new vote key" if each.rekey else state
            state += f" ({each.have} of {each.need})"
        style = {"me": "bold", "down": "dim"}.get(each.state, "")
        since = "-" if each.state == "asks" else str(each.admitted_at)
        nick = Text(one_line(each.nick), style=style)
        table.add_row(nick, Text(state, style=style), since, each.member[:16])
        if each.convicted:
            table.add_row("", Text("this key signed twice: it is not listened to"), "", "")
            table.add_row("", Text(f"to be for its removal: pigeon remove {one_line(each.nick)}"), "", "")
        if each.remark:
            table.add_row("", Text(f"! {one_line(each.remark)}"), "", "")
        if each.words:
            table.add_row("", Text(f"words: {one_line(each.words).upper()}"), "", "")
    return _drawn(table, color=color)


def status_table(status: StatusEvent, *, why: bool, color: bool) -> str:
    """The room's state; with `why` also what it waits for and what to do."""
    quorum = "quorum ok" if status.up >= status.quorum else "no quorum"
    lines = [
        f"{status.up}/{status.n} up · {quorum} ({status.quorum} of {status.n} needed, {status.f} may lie) "
        f"· block {status.height} · #{status.index}",
        f"rule {status.rule} · {status.pending} of your messages not final yet",
    ]
    lines += [f"  {one_line(link.nick):16} {one_line(link.state)}" for link in status.links]
    if why:
        lines.append(why_not_final(status))
        lines += [f"anchor {status.anchor}"] if status.anchor else []
    lines += [f"! {one_line(note)}" for note in status.notes]
    return "\n".join(lines)


def why_not_final(status: StatusEvent) -> str:
    """In a sentence: what stands between the pending messages and their place in the order."""
    missing = [one_line(nick) for nick in status.waiting_for]
    if missing:
        needed = max(1, status.quorum - status.up)
        if len(missing) > needed:
            return f"Waiting for {needed} of: {', '.join(missing)}."
        return f"Waiting for {' and '.join(missing)}."
    if status.pending:
        return "Enough members are up: what is pending should become final in a moment."
    return "Nothing waits: everything said here is final."


def _drawn(table: object, *, color: bool) -> str:
    from rich.console import Console

    page = io.StringIO()
    console = Console(
        file=page, width=_WIDTH, no_color=not color, force_terminal=color, highlight=False, emoji=False
    )
    console.print(table)
    return "\n".join(line.rstrip() for line in page.getvalue().strip("\n").splitlines())
