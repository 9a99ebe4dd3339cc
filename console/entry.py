"""What goes wrong before a command runs: a wrong command line, streams that are closed or take nothing."""

import os
import signal
import sys
from contextlib import suppress

import click

from node.errors import Exit


def unwritable(error: OSError) -> int:
    """Standard output takes nothing: quiet for a reader that left, else told on standard error."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if isinstance(error, BrokenPipeError):
        return 128 + signal.SIGPIPE
    _complain(f"The system refused: {error.strerror}.", "Check permissions and free space.")
    return Exit.COULD_NOT_CHECK


def _complain(message: str, hint: str) -> None:
    with suppress(OSError):  # nobody is there to read it
        click.echo(f"! {message}\n  {hint}", err=True)


def open_closed_streams() -> None:
    """A standard stream that the caller closed leads nowhere, instead of into whatever is opened next."""
    for descriptor, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (2, "stderr", "w")):
        if getattr(sys, name) is None:
            while os.open(os.devnull, os.O_RDWR) < descriptor:
                pass
            setattr(sys, name, os.fdopen(descriptor, mode, closefd=False))


def wrong_usage(error: click.ClickException, arguments: list[str]) -> int:
    """A wrong command line, in the form of every other error."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "pigeon"
    message, hint = error.format_message().rstrip(), f"See: {path} --help"
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        with suppress(OSError):
            click.echo(message, err=True)
        return Exit.USAGE
    wants_json = "--json" in arguments or os.environ.get("PIGEON_JSON", "").lower() in (
        "1",
        "true",
        "yes",
        "on",
    )
    if wants_json:
        import msgspec

        from node.events import ErrorEvent

        event = ErrorEvent(code=Exit.USAGE, message=message, hint=hint)
        try:
            click.echo(msgspec.json.encode(event))
        except OSError as refused:
            unwritable(refused)
    _complain(message, hint)
    return Exit.USAGE
