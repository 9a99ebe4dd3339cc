"""Who is the lobby's host: one member shows that it may be asked, and another takes over when it is gone.

Clocks differ and folders are synced late, so whether the host is up is judged by our link with it and never
by the time in its entry; the time only says when an entry has to be renewed.
"""

from collections.abc import Callable
from typing import Final

from signaling.description import Identity
from signaling.envelope import Presence

_PATIENCE: Final = 3.0  # seconds without a link to the host
_TURN: Final = 1.0  # for each that goes before us: one writes, and not all at once
_MAX_PATIENCE: Final = 300.0


class Host:
    """The host as one member knows it. `life`: seconds that an entry of ours is good for."""

    def __init__(self, me: Identity, *, life: int) -> None:
        self._me = me
        self._life = life
        self._known: Presence | None = None
        self._gone_since: float | None = None
        self._patience = _PATIENCE

    @property
    def identity(self) -> Identity | None:
        """Who said so last, perhaps we; None as long as nobody did."""
        return self._known.sender if self._known is not None else None

    def saw(self, presence: Presence) -> None:
        """Somebody's entry is there."""
        if self._known is None or self._known.sender != presence.sender:
            self._gone_since = None
        self._known = presence

    def is_due(self, *, now: float, clock: int, is_up: Callable[[Identity], bool], before: int) -> bool:
        """Whether to put our entry up, over whatever is there.

        now: monotonic seconds. clock: Unix seconds. before: how many of those linked would do it first.
        """
        known = self._known
        if known is None:
            return True
        left = known.expires - clock
        if known.sender == self._me:
            return not self._life / 2 < left <= self._life
        if is_up(known.sender):
            self._gone_since, self._patience = None, _PATIENCE
            return left <= 0
        if self._gone_since is None:
            self._gone_since = now
        return now - self._gone_since >= self._patience + before * _TURN

    def took_over(self, presence: Presence) -> None:
        """Our entry is up."""
        if self.identity not in (None, self._me):
            # Two that see one folder and cannot link would take turns for ever: ever more slowly.
            self._patience = min(2 * self._patience, _MAX_PATIENCE)
        self.saw(presence)
