"""Runs one command to its end: signals, errors and closed pipes become exit codes, never tracebacks."""

import logging
import os
import signal
import sys
import traceback
from collections.abc import Awaitable, Callable
from typing import Final

import trio

from console.sanitize import one_line
from console.screen import show_error
from console.settings import Settings
from node.errors import Exit, NodeError
from node.events import ErrorEvent

Command = Callable[[], Awaitable[int]]

_STOPPING: Final = (signal.SIGINT, signal.SIGTERM)


def run(settings: Settings, command: Command) -> int:
    """The exit code of the command; it is cancelled by SIGINT, SIGTERM or SIGHUP, and stops cleanly."""
    _set_up_logging(settings.verbose)
    return trio.run(_until_stopped, settings, command)


async def _until_stopped(settings: Settings, command: Command) -> int:
    code: int = Exit.DONE
    stopped_by = 0

    async def watch(scope: trio.CancelScope) -> None:
        nonlocal stopped_by
        hangup = () if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (signal.SIGHUP,)  # nohup
        with trio.open_signal_receiver(*_STOPPING, *hangup) as signals:
            watching.set()
            async for number in signals:
                if stopped_by:
                    os._exit(128 + number)  # asked twice: somebody does not want to wait for a clean end
                stopped_by = number
                scope.cancel()

    watching = trio.Event()
    async with trio.open_nursery() as watcher:
        scope = trio.CancelScope()
        watcher.start_soon(watch, scope)
        await watching.wait()
        try:
            with scope:
                code = await command()
        except Exception as error:
            code = await _failed(settings, error)
        watcher.cancel_scope.cancel()
    return 128 + stopped_by if stopped_by else code


async def _failed(settings: Settings, error: Exception) -> int:
    if settings.verbose >= 2:
        traceback.print_exception(error)
    if _only(error, BrokenPipeError):
        silence_stdout()
        return 128 + signal.SIGPIPE
    said = what_to_say(error)
    try:
        await show_error(settings, said)
    except OSError:  # nobody is there to read it
        silence_stdout()
    return said.code


def what_to_say(error: BaseException) -> ErrorEvent:
    """The two sentences and the exit code for whatever a command raised."""
    leaves = list(_leaves(error))
    for leaf in leaves:
        if isinstance(leaf, NodeError):
            return ErrorEvent(code=leaf.exit_code, message=leaf.message, hint=leaf.hint)
    first = leaves[0]
    if isinstance(first, OSError) and first.strerror:
        where = f"{first.filename}: " if first.filename else ""
        return ErrorEvent(
            code=Exit.COULD_NOT_CHECK,
            message=f"The system refused: {where}{first.strerror}.",
            hint="Check permissions and free space.",
        )
    return ErrorEvent(
        code=Exit.COULD_NOT_CHECK,
        message=f"Something went wrong inside pigeon: {type(first).__name__}: {first}.",
        hint="Run the same with -vv to see where, and report it.",
    )


def silence_stdout() -> None:
    """Let the interpreter's last flush go nowhere instead of complaining about a closed pipe."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for each in error.exceptions for leaf in _leaves(each)]
    return [error]


def _only(error: BaseException, kind: type[BaseException]) -> bool:
    return all(isinstance(leaf, kind) for leaf in _leaves(error))


def _set_up_logging(verbose: int) -> None:
    if not verbose:
        # Otherwise Python itself prints warnings of libraries to standard error.
        logging.getLogger().addHandler(logging.NullHandler())
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(log_formatter())
    logging.basicConfig(level=logging.INFO if verbose == 1 else logging.DEBUG, handlers=[handler])


def log_formatter() -> logging.Formatter:
    """For lines that go to a terminal."""
    return _PlainFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s")


class _PlainFormatter(logging.Formatter):
    """What a peer wrote may stand in a log line, too."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return one_line(super().formatMessage(record))
