"""What can go wrong for a user: one sentence what happened, one what to do, and an exit code."""

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of every command."""

    DONE = 0
    NO = 1  # verification says no, or nothing found
    USAGE = 2
    TIMED_OUT = 3  # before the state asked for
    UNREACHABLE = 4
    NO_QUORUM = 5
    MISMATCH = 6  # of identity or room
    BYZANTINE = 7  # evidence was found
    COULD_NOT_CHECK = 8  # never mixed with NO


class NodeError(Exception):
    """An error made for a person. message: what happened. hint: what to do. exit_code: for a script."""

    exit_code: Exit = Exit.COULD_NOT_CHECK

    def __init__(self, message: str, hint: str, *, exit_code: Exit | None = None) -> None:
        super().__init__(f"{message} {hint}".rstrip())
        self.message = message
        self.hint = hint
        if exit_code is not None:
            self.exit_code = exit_code


class UsageError(NodeError):
    """The command or its arguments do not fit together."""

    exit_code = Exit.USAGE


class TimedOut(NodeError):
    """The state asked for did not come in time."""

    exit_code = Exit.TIMED_OUT


class Unreachable(NodeError):
    """No way to the peer, the folder or the running node."""

    exit_code = Exit.UNREACHABLE


class NoQuorum(NodeError):
    """Fewer members are up than the room needs to go on."""

    exit_code = Exit.NO_QUORUM


class Mismatch(NodeError):
    """Another identity or another room than the one expected."""

    exit_code = Exit.MISMATCH


class NotAMember(Mismatch):
    """The room goes on without this identity."""

    def __init__(self, room: str, *, why: str = "its members removed you") -> None:
        super().__init__(
            f"You are not a member of room {room} any more: {why}.",
            "Its record stays readable with `pigeon log`; to come back, join with a new invitation.",
        )


class KeyFileError(NodeError):
    """A key file cannot be used: damaged, readable by others, or not a plain file."""

    exit_code = Exit.COULD_NOT_CHECK


class LinkClosed(NodeError):
    """The link is gone; nothing more can be sent or received on it."""

    exit_code = Exit.UNREACHABLE


class LinkFault(LinkClosed):
    """The peer broke the rules of a link (its frames, its handshake); only that link was closed."""


class ConnectFailed(NodeError):
    """A connection could not be made in time, or the two ends could not agree who they are."""

    exit_code = Exit.UNREACHABLE


class GaveUpFirst(ConnectFailed):
    """We do not knock at an offer any more, which is good for longer."""

    def __init__(self, message: str) -> None:
        super().__init__(
            message,
            "The token is still good for a while: join with it again, with --offer-life 2h, say, to wait so "
            "long for your answer to be carried back; or ask for a new one.",
        )
