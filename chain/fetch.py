"""Asks one linked peer at a time for committed blocks; another one if nothing comes of it.

A claim costs little and is believed little: who claims and does not deliver is asked three times, with
growing patience, and then no more on this link. So a liar holds nobody up, and no timer runs for ever.
"""

from dataclasses import dataclass

from chain.ids import MemberId
from chain.message import PullRange
from chain.outbox import Outbox

PATIENCE = 5.0
"""Seconds without anything new from a peer before another one is asked; doubled at each of its failures."""
TRIES = 3


@dataclass(slots=True)
class _Claim:
    height: int
    failures: int = 0

    @property
    def patience(self) -> float:
        return PATIENCE * 2.0**self.failures


@dataclass(slots=True)
class _Asked:
    peer: MemberId
    height: int
    heard_at: float


class Fetch:
    """Who claims to have which height, and whom we asked for what."""

    def __init__(self, out: Outbox) -> None:
        self._out = out
        self._claims: dict[MemberId, _Claim] = {}
        self._asked: _Asked | None = None

    def claim(self, peer: MemberId, height: int) -> bool:
        """A linked peer says it has all blocks up to this height; false if it has lost our trust."""
        claim = self._claims.setdefault(peer, _Claim(height))
        claim.height = max(claim.height, height)
        return claim.failures < TRIES

    def failed(self, peer: MemberId) -> None:
        """What was asked did not come, or was wrong."""
        if peer in self._claims:
            self._claims[peer].failures += 1
        if self._asked is not None and self._asked.peer == peer:
            self._asked = None

    def forget(self, peer: MemberId) -> None:
        """The link is gone, and with it all that was said over it."""
        self._claims.pop(peer, None)
        if self._asked is not None and self._asked.peer == peer:
            self._asked = None

    def heard(self, peer: MemberId, *, now: float) -> None:
        """A peer brought something of what we lack: it is at work."""
        if peer in self._claims:
            self._claims[peer].failures = 0
        if self._asked is not None and self._asked.peer == peer:
            self._asked.heard_at = now

    def pursue(self, height: int, *, now: float) -> float | None:
        """See to it that somebody is being asked for blocks from `height` on.

        When to look again; None when nobody is left who claims to have it.
        """
        asked = self._asked
        if asked is not None and asked.height == height:
            deadline = asked.heard_at + self._claims[asked.peer].patience
            if now < deadline:
                return deadline
            self.failed(asked.peer)
        able = [
            (claim.failures, peer != (asked.peer if asked else None), peer)
            for peer, claim in self._claims.items()
            if claim.height >= height and claim.failures < TRIES
        ]
        if not able:
            self._asked = None
            return None
        _, _, peer = min(able)
        self._asked = _Asked(peer, height, now)
        self._out.to(peer, PullRange(height))
        return now + self._claims[peer].patience
