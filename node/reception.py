"""What `greet` needs to know of us when one of two that meet is a newcomer; see node/meeting.py."""

from collections.abc import Callable
from dataclasses import dataclass, field

from node.guest import AskPassword, Guest, nobody_to_ask
from node.meeting import Meeting
from node.seeing_in import Host

__all__ = ["AskPassword", "Guest", "Host", "Meeting", "Reception", "nobody_to_ask"]


@dataclass(frozen=True, kw_only=True)
class Reception:
    """Whether we come or are at home, and what to do then."""

    is_guest: Callable[[], bool] = lambda: False
    host: Host = field(default_factory=Host)
    guest: Guest = field(default_factory=Guest)
