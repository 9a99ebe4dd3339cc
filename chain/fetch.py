"""Asks one linked peer at a time for committed blocks; another one if nothing comes of it."""

from dataclasses import dataclass, replace

from chain.ids import MemberId
from chain.message import PullRange
from chain.outbox import Outbox

PATIENCE = 5.0
"""Seconds without anything new from a peer before the next one is asked."""


@dataclass(frozen=True, slots=True)
class _Asked:
    peer: MemberId
    height: int
    at: float


class Fetch:
    """Who claims to have which height, and whom we asked for what."""

    def __init__(self, out: Outbox) -> None:
        self._out = out
        self._claims: dict[MemberId, int] = {}
        self._failed: set[MemberId] = set()
        self._asked: _Asked | None = None

    def claim(self, peer: MemberId, height: int) -> None:
        """A linked peer says it has all blocks up to this height."""
        self._claims[peer] = height
        self._failed.discard(peer)

    def drop(self, peer: MemberId) -> None:
        """The link is gone, or what came over it was wrong."""
        self._failed.add(peer)
        if self._asked is not None and self._asked.peer == peer:
            self._asked = None

    def forget(self, peer: MemberId) -> None:
        self.drop(peer)
        self._claims.pop(peer, None)
        self._failed.discard(peer)

    def heard(self, peer: MemberId, *, now: float) -> None:
        """Something new came from a peer: if it is the one we asked, it is at work."""
        if self._asked is not None and self._asked.peer == peer:
            self._asked = replace(self._asked, at=now)

    def highest_claim(self) -> int:
        return max((h for peer, h in self._claims.items() if peer not in self._failed), default=0)

    def pursue(self, height: int, *, now: float) -> float | None:
        """See to it that somebody is being asked for blocks from `height` on; when to look again."""
        asked = self._asked
        if asked is not None and asked.height == height:
            if now < asked.at + PATIENCE:
                return asked.at + PATIENCE
            self.drop(asked.peer)
        able = [p for p, h in self._claims.items() if h >= height and p not in self._failed]
        if not able:
            self._asked = None
            return None
        peer = asked.peer if asked is not None and asked.peer in able else able[0]
        self._asked = _Asked(peer, height, now)
        self._out.to(peer, PullRange(height))
        return now + PATIENCE
