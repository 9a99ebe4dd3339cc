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
LEAST_RATE = 32 * 1024
"""Bytes a second of what we lack that keep a peer from running out of patience: a trickle does not."""


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
    deadline: float


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

    def heard(self, peer: MemberId, size: int, *, now: float) -> None:
        """A peer brought so many bytes of what we lack: it is at work."""
        asked = self._asked
        if asked is not None and asked.peer == peer:
            latest = now + self._claims[peer].patience
            asked.deadline = min(latest, asked.deadline + size / LEAST_RATE)

    def served(self, peer: MemberId) -> None:
        """A block that a peer brought was whole and right: its failures are forgiven."""
        if peer in self._claims:
            self._claims[peer].failures = 0

    def pursue(self, height: int, *, now: float) -> float | None:
        """See to it that somebody is being asked for blocks from `height` on.

        When to look again; None when nobody is left who claims to have it.
        """
        asked = self._asked
        if asked is not None and asked.height == height:
            if now < asked.deadline:
                return asked.deadline
            self.failed(asked.peer)
        elif asked is not None:
            self.served(asked.peer)  # the height grew since
        able = [
            (claim.failures, peer != (asked.peer if asked else None), peer)
            for peer, claim in self._claims.items()
            if claim.height >= height and claim.failures < TRIES
        ]
        if not able:
            self._asked = None
            return None
        _, _, peer = min(able)
        self._asked = _Asked(peer, height, now + self._claims[peer].patience)
        self._out.to(peer, PullRange(height))
        return self._asked.deadline
