"""How far a node that is behind has come: told when it begins, now and then, and when it is done."""

from typing import Final

from chain.effects import HistoryGrew
from chain.records import Snapshot
from chain.replica import Replica
from node.events import ProgressEvent

WORTH_TELLING: Final = 50
"""Blocks: fewer are there before anybody has read that they are missing."""
EVERY: Final = 0.5  # seconds


class Progress:
    """Of one thing that is fetched; `past`: what was said before we came, not what we missed."""

    def __init__(self, *, past: bool) -> None:
        self._past = past
        self._target = 0
        self._told_at: float | None = None

    def look(self, *, height: int, target: int, now: float) -> ProgressEvent | None:
        """What to tell at this time (seconds), if anything; height and target are counted in blocks."""
        if height >= target:
            begun, self._told_at = self._told_at is not None, None
            # Short of what was told, nobody is there any more who says that there is more.
            done = begun and height >= self._target
            return ProgressEvent(height=height, target=height, past=self._past) if done else None
        if self._told_at is None and target - height < WORTH_TELLING:
            return None
        if self._told_at is not None and now < self._told_at + EVERY:
            return None
        self._told_at, self._target = now, target
        return ProgressEvent(height=height, target=target, past=self._past)


class Fetching:
    """What a member fetches: what it missed, and, if it came late, what was said before."""

    def __init__(self, replica: Replica, snapshot: Snapshot) -> None:
        self._replica = replica
        self._missed, self._past = Progress(past=False), Progress(past=True)
        self._past_target = 0 if snapshot.base is None else snapshot.base.height
        self._past_height = 0 if snapshot.history is None else snapshot.history.height

    def on_history(self, notice: HistoryGrew) -> None:
        self._past_height = self._past_target if notice.complete else notice.height

    def news(self, *, now: float) -> list[ProgressEvent]:
        """To be asked after each turn."""
        height = self._replica.tip.height
        target = max(height, self._replica.known_height)
        events = (
            self._missed.look(height=height, target=target, now=now),
            self._past.look(height=self._past_height, target=self._past_target, now=now),
        )
        return [event for event in events if event is not None]
