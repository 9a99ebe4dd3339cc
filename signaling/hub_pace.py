"""How fast at most: what one hub may make us read, and how often a call is answered. Time is an input."""

import random
from typing import Final

_RATE: Final = 1 << 20  # bytes a second, when it lasts
_BURST: Final = 16 << 20
_LINE: Final = 256  # what a line costs besides its bytes: many small ones are the dearest

_TURNS: Final = 6
_TURN: Final = 4.0  # seconds until another one may be taken
_GAP: Final = 0.2

_FIRST_PAUSE: Final = 0.5
_LONGEST_PAUSE: Final = 10.0
PAUSE_IF_ASKED: Final = 4.0  # at most, while somebody waits for the hub


class Budget:
    """Of what is read from a hub, which may be anybody's. 40 of its events cost a millisecond or two."""

    def __init__(self, *, now: float) -> None:
        self._left = float(_BURST)
        self._at = now

    def spend(self, chunk: bytes, *, now: float) -> float:
        """Seconds to read nothing for, now that this was read; 0 for all that honest members say."""
        self._left = min(_BURST, self._left + (now - self._at) * _RATE)
        self._at = now
        self._left -= len(chunk) + _LINE * chunk.count(b"\n")
        return max(0.0, -self._left / _RATE)


class Turns:
    """Many calls are answered at once: n members that begin together cost each of them a few answers."""

    def __init__(self) -> None:
        self._left = float(_TURNS)
        self._at = 0.0
        self._not_before = 0.0

    def wait(self, *, now: float) -> float:
        """Seconds until the next may be taken."""
        left = min(_TURNS, self._left + (now - self._at) / _TURN)
        return max(self._not_before - now, (1 - left) * _TURN, 0.0)

    def take(self, *, now: float) -> bool:
        """Whether it may be now; if so it is taken."""
        if self.wait(now=now) > 0:
            return False
        self._left = min(_TURNS, self._left + (now - self._at) / _TURN) - 1
        self._at, self._not_before = now, now + _GAP
        return True


def pause(failures: int) -> float:
    """Seconds before the next dial after so many that failed; never the same for two who failed together."""
    return float(min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(failures, 10)) * random.uniform(0.5, 1.0))
