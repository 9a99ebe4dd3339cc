"""What a check found, and what all findings come to: one sentence what is wrong, one what to do."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from node.errors import Exit, NodeError

State = Literal["ok", "warning", "problem"]

_NOTHING_WRONG: Final = "Everything that was looked at works here."
_ONLY_NEAR: Final = "Whether you can meet people in other networks was not: that takes --stun SERVER."


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line. Sentences but for `what`; `cause` and `cure` are empty where nothing is wrong."""

    what: str
    """What was looked at: `addresses`, `stun host:3478`, a carrier's spec, ..."""
    state: State
    found: str
    cause: str = ""
    cure: str = ""
    """What to do; beside `ok`, what could be done besides."""
    cuts_off: bool = False
    """As long as this stands nobody can be reached at all."""
    needs_turn: bool = False
    only_near: bool = False
    """Good as it is in this network; how it is beyond was not looked at."""


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What to mend first. `code`: the command's exit code."""

    code: Exit
    found: str
    cause: str
    cure: str
    problems: int
    warnings: int
    needs_turn: bool


def fine(what: str, found: str, *, cure: str = "", only_near: bool = False) -> Finding:
    """Nothing is wrong with it."""
    return Finding(what=what, state="ok", found=found, cure=cure, only_near=only_near)


def warning(what: str, found: str, *, cause: str, cure: str) -> Finding:
    """It works, or may, and something about it should be known."""
    return Finding(what=what, state="warning", found=found, cause=cause, cure=cure)


def problem(what: str, found: str, *, cause: str, cure: str, cuts_off: bool = False) -> Finding:
    """It does not work."""
    return Finding(what=what, state="problem", found=found, cause=cause, cure=cure, cuts_off=cuts_off)


def as_problem(what: str, error: NodeError, *, found: str) -> Finding:
    """What the node itself would say about it, and end."""
    return problem(what, found, cause=error.message, cure=error.hint)


def sum_up(findings: Sequence[Finding]) -> Diagnosis:
    """The worst of them: what cuts us off, then what does not work, then warnings, each in their order."""
    problems = [each for each in findings if each.state == "problem"]
    warnings = [each for each in findings if each.state == "warning"]
    cut_off = [each for each in problems if each.cuts_off]
    needs_turn = any(each.needs_turn for each in findings)
    worst = next(iter([*cut_off, *problems, *warnings]), None)
    code = Exit.UNREACHABLE if cut_off else Exit.NO if problems else Exit.DONE
    if worst is None:
        found, cause, cure = _NOTHING_WRONG, "", ""
        if any(each.only_near for each in findings):
            found = f"{found} {_ONLY_NEAR}"
    else:
        found, cause, cure = f"{worst.what}: {worst.found}", worst.cause, worst.cure
    return Diagnosis(
        code=code,
        found=found,
        cause=cause,
        cure=cure,
        problems=len(problems),
        warnings=len(warnings),
        needs_turn=needs_turn,
    )
