"""What linked members left with us for others, handed on when both are linked: one hop, and nobody's else.

It lasts as long as the link of who left it. How often one member reaches another through us is limited, so
that no flood of one takes the place of others, and so that what leaves us stays below what anybody cuts a
link for (`Budget` in node/introduce.py).
"""

from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

import trio

from node.aside import Aside, Hand, Leave, TakeBack
from node.door import remember
from signaling.carrier import ParcelKind

MAX_KEPT: Final = 64  # of one member: an offer and an answer for each of 31
_PAIR_BURST: Final = 8.0
_PAIR_RATE: Final = 1.0  # parcels a second from one member to another
_MAX_PAIRS: Final = 1024  # 31 * 30 are in use

Tell = Callable[[bytes, Aside], bool]
"""Say it to this peer; False when that cannot be now."""


class Bucket:
    """So many at once, so many a second."""

    def __init__(self, *, burst: float, rate: float) -> None:
        self._burst, self._rate = burst, rate
        self._level, self._at = burst, trio.current_time()

    def take(self, cost: float = 1.0) -> bool:
        """Whether there was enough; what is not there is not taken."""
        now = trio.current_time()
        self._level = min(self._burst, self._level + (now - self._at) * self._rate)
        self._at = now
        if self._level < cost:
            return False
        self._level -= cost
        return True


@dataclass
class _Kept:
    payload: bytes
    handed: bool = False


_NOTHING: Final[OrderedDict[tuple[bytes, ParcelKind], _Kept]] = OrderedDict()


class Introducer:
    """`members()`: who may use us, ourselves included; `linked()`: who is linked now."""

    def __init__(
        self,
        *,
        members: Callable[[], Collection[bytes]],
        linked: Callable[[], Collection[bytes]],
        tell: Tell,
    ) -> None:
        self._members = members
        self._linked = linked
        self._tell = tell
        self._kept: dict[bytes, OrderedDict[tuple[bytes, ParcelKind], _Kept]] = {}
        self._pairs: OrderedDict[tuple[bytes, bytes], Bucket] = OrderedDict()

    def leave(self, source: bytes, aside: Leave) -> None:
        """Keep it; who is no member here may be one in a moment, and is heard then."""
        mine = self._kept.setdefault(source, OrderedDict())
        place = (aside.to, aside.kind)
        former = mine.get(place)
        if former is None or former.payload != aside.payload:
            remember(mine, place, _Kept(aside.payload), limit=MAX_KEPT)

    def take_back(self, source: bytes, aside: TakeBack) -> None:
        self._kept.get(source, _NOTHING).pop((aside.to, aside.kind), None)

    def on_up(self, peer: bytes) -> None:
        """A new line: what was handed over the former may not have come."""
        for kept in self._for(peer):
            kept.handed = False

    def on_down(self, peer: bytes) -> None:
        """Who left it leaves it again over its next line."""
        self._kept.pop(peer, None)

    def hand_on(self, *, of: bytes | None = None) -> bool:
        """Hand on what can be, of one or of all; whether something waits for time, or to be of members."""
        waits = False
        members, linked = self._members(), self._linked()
        for source in self._kept if of is None else (of,):
            for (to, kind), kept in self._kept.get(source, _NOTHING).items():
                if kept.handed or to not in linked or to == source:
                    continue
                allowed = source in members and to in members and self._pair(source, to).take()
                if allowed and self._tell(to, Hand(sender=source, kind=kind, payload=kept.payload)):
                    kept.handed = True
                else:
                    waits = True
        return waits

    def _pair(self, source: bytes, to: bytes) -> Bucket:
        bucket = self._pairs.get((source, to)) or Bucket(burst=_PAIR_BURST, rate=_PAIR_RATE)
        remember(self._pairs, (source, to), bucket, limit=_MAX_PAIRS)
        return bucket

    def _for(self, peer: bytes) -> list[_Kept]:
        return [kept for parcels in self._kept.values() for (to, _), kept in parcels.items() if to == peer]
