"""Whatever a command raises, a person reads two sentences and a script sees one exit code."""

import errno
import logging

import pytest

from console import shell
from console.settings import Settings
from node.errors import Exit, NodeError, NoQuorum, TimedOut
from node.events import ErrorEvent

SETTINGS = Settings()


def test_an_error_of_ours_is_found_wherever_it_happened() -> None:
    buried = ExceptionGroup(
        "tasks", [ExceptionGroup("more", [RuntimeError("noise"), NoQuorum("Two.", "Wait.")])]
    )
    assert shell.what_to_say(buried) == ErrorEvent(code=Exit.NO_QUORUM, message="Two.", hint="Wait.")


def test_the_systems_refusal_names_the_file() -> None:
    said = shell.what_to_say(PermissionError(errno.EACCES, "Permission denied", "/some/where"))
    assert (said.code, said.message) == (
        Exit.COULD_NOT_CHECK,
        "The system refused: /some/where: Permission denied.",
    )


def test_our_own_mistake_is_told_as_such() -> None:
    said = shell.what_to_say(KeyError("x"))
    assert said.code == Exit.COULD_NOT_CHECK
    assert "inside pigeon: KeyError" in said.message
    assert "-vv" in said.hint


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (TimedOut("Late.", "Wait."), 3),
        (NodeError("No.", "Try.", exit_code=Exit.NO), 1),
    ],
)
def test_the_exit_code_says_what_happened(
    raised: Exception, code: int, capfd: pytest.CaptureFixture[str]
) -> None:
    async def command() -> int:
        raise raised

    assert shell.run(SETTINGS, command) == code
    assert "Traceback" not in capfd.readouterr().err


def test_the_code_of_a_command_that_ends_well_is_its_own() -> None:
    async def command() -> int:
        return Exit.NO

    assert shell.run(SETTINGS, command) == 1


def test_what_a_peer_wrote_cannot_steer_the_terminal_through_the_log() -> None:
    record = logging.LogRecord("node", logging.WARNING, "", 0, "a peer says %s", ("\x1b[2Jbye\nnext",), None)
    assert shell.log_formatter().format(record).endswith("WARNING node: a peer says bye next")
