"""Asks linked peers for committed blocks in a row: the best first, the next answer while one is taken in.

A claim costs little and is believed little: who claims and does not deliver is asked three times, with
growing patience, and then no more on this link. So a liar holds nobody up, and no timer runs for ever. But
what more members claim than may lie does exist, whatever went wrong: that is asked for again after a rest.
Who delivers little at a time, be it right, gives way to others as well.
"""

from dataclasses import dataclass

from chain.codec import encode
from chain.ids import MemberId
from chain.message import Committed, Message, PullRange
from chain.outbox import Outbox

PATIENCE = 5.0
"""Seconds without anything new from a peer before another one is asked; doubled at each of its failures."""
TRIES = 3
LONGEST = 5
"""So many times patience is doubled at most."""
LEAST_RATE = 32 * 1024
"""Bytes a second of what we lack that keep a peer from running out of patience: a trickle does not."""
EXPECTED_RATE = 256 * 1024
"""Bytes a second that a peer is taken for that has shown nothing yet: who is slower gives way to it."""
BELIEVED = 60.0
"""Seconds for which a rate that was seen counts: lines change, and small answers say little."""
FULL = 16 * 1024
"""Bytes of what we lack that make an answer more than a sign of life."""
AHEAD = 2
"""Answers under way or not taken in yet."""
MOST_HELD = 4 * 1024 * 1024
"""Bytes of an answer that wait for those before it; a single block may be larger."""


@dataclass(slots=True)
class _Claim:
    height: int
    failures: int = 0
    rests_until: float = 0.0
    """Not asked before, if it failed too often."""

    @property
    def patience(self) -> float:
        return PATIENCE * 2.0 ** min(self.failures, LONGEST)


@dataclass(slots=True)
class _Asked:
    """One question, and what came of it so far."""

    peer: MemberId
    height: int
    since: float
    deadline: float
    last: int | None = None
    """How far the answer goes, once it is here; nothing of it is believed before it is taken in."""
    came: float = 0.0
    useful: int = 0
    """Bytes that were right and new."""
    held: tuple[Message, ...] = ()
    size: int = 0
    """Bytes of all that was held of it."""


class Fetch:
    """Who claims to have which height, whom we asked for what, and answers that are to be taken in next."""

    def __init__(self, out: Outbox) -> None:
        self._out = out
        self._claims: dict[MemberId, _Claim] = {}
        self._asked: list[_Asked] = []
        """Ascending by height; only the last may be unanswered."""
        self._void: dict[MemberId, int] = {}
        """For a peer the height it was asked for in vain: if that answer comes, it is of no use."""
        self._rates: dict[MemberId, tuple[float, float]] = {}
        """Bytes a second of each peer's last answer, and when that was; a new link does not mend it."""
        self._too_large = 0
        """The height of an answer that was more than we hold: it is not asked for in advance."""
        self._certain = 0
        """Up to which height there are blocks, as more members say than may lie."""

    def claim(self, peer: MemberId, height: int) -> bool:
        """A linked peer says it has all blocks up to this height; false if it has lost our trust."""
        claim = self._claims.setdefault(peer, _Claim(height))
        claim.height = max(claim.height, height)
        return claim.failures < TRIES

    def vouched(self, count: int) -> int:
        """The height that so many of those we trust claim, or more; 0 if there are not so many."""
        heights = sorted(claim.height for claim in self._claims.values() if claim.failures < TRIES)
        return heights[-count] if len(heights) >= count else 0

    def failed(self, peer: MemberId, *, now: float) -> None:
        """What was asked did not come, or was wrong."""
        if peer in self._claims:
            claim = self._claims[peer]
            claim.failures += 1
            claim.rests_until = now + claim.patience
            self._note_rate(peer, 0.0, now)
        self._drop_from(peer)

    def forget(self, peer: MemberId) -> None:
        """The link is gone, and with it all that was said over it."""
        self._claims.pop(peer, None)
        self._drop_from(peer)
        self._void.pop(peer, None)

    def _drop_from(self, peer: MemberId) -> None:
        """Forget what this peer was asked for and what follows: where that begins was its word."""
        first = next((at for at, asked in enumerate(self._asked) if asked.peer == peer), len(self._asked))
        self._drop(first)

    def _drop(self, first: int) -> None:
        for asked in self._asked[first:]:
            if asked.last is None:
                self._void[asked.peer] = asked.height
        del self._asked[first:]

    # Answers

    def hold(self, peer: MemberId, messages: tuple[Message, ...], *, size: int, now: float) -> bool:
        """Keep an envelope (of `size` bytes) that answers a question, and ask on before it is taken in.

        False if it answers none, and is to be taken in as any other.
        """
        first = messages[0] if messages else None
        if not isinstance(first, Committed):
            for asked in self._asked:  # the rest of an answer that is too large for one envelope
                if asked.peer == peer and asked.held:
                    asked.held += messages
                    asked.size += size
                    if asked.size > MOST_HELD:
                        self._too_large = asked.height
                        self._asked.remove(asked)
                    return True
            return False
        height = first.block.height
        for asked in self._asked:
            if asked.peer == peer and asked.last is None and asked.height == height:
                blocks = [message for message in messages if isinstance(message, Committed)]
                asked.held, asked.size, asked.came = messages, size, now
                asked.last = max(height, min(blocks[-1].block.height, height + len(blocks) - 1))
                asked.useful += sum(len(encode((of.block, of.certificate))) for of in blocks)
                asked.deadline = now + self._claims[peer].patience
                return True
        if self._void.get(peer) == height:
            del self._void[peer]
            return True
        return False

    def due(self, height: int) -> tuple[MemberId, tuple[Message, ...]] | None:
        """An answer that was held and reaches down to this height, to be taken in now."""
        for asked in self._asked:
            if asked.held and asked.height <= height:
                messages, asked.held = asked.held, ()
                return asked.peer, messages
        return None

    def heard(self, peer: MemberId, size: int, *, now: float) -> None:
        """A peer brought so many bytes of what we lack: it is at work."""
        for asked in self._asked:
            if asked.peer == peer:
                asked.useful += size
                latest = now + self._claims[peer].patience
                asked.deadline = min(latest, asked.deadline + size / LEAST_RATE)
                return

    # Questions

    def pursue(self, height: int, *, now: float, witnesses: int | None = None) -> float | None:
        """See to it that somebody is being asked for blocks from `height` on.

        What so many linked members claim is taken for certain; None: nothing is. When to look again; None
        when nobody is left who claims to have it.
        """
        self._certain = self._claimed_by(witnesses) if witnesses is not None else 0
        self._review(height, now)
        if not self._asked or self._asked[0].height > height:
            self._drop(0)
            self._ask(height, now)
        elif (
            len(self._asked) < AHEAD
            and (last := self._asked[-1].last) is not None
            and last + 1 != self._too_large
        ):
            self._ask(last + 1, now)
        if any(asked.held and asked.height <= height for asked in self._asked):
            return now
        if self._asked:
            return self._asked[0].deadline
        resting = (claim.rests_until for claim in self._claims.values() if claim.height >= height)
        return min(resting, default=None) if height <= self._certain else None

    def _claimed_by(self, count: int) -> int:
        """The height that so many linked members claim, trusted or not; 0 if there are not so many."""
        members = self._out.members
        heights = sorted(claim.height for peer, claim in self._claims.items() if peer in members)
        return heights[-count] if len(heights) >= count else 0

    def _review(self, height: int, now: float) -> None:
        """Settle what is done, late or wrong; `height` is the first that we lack."""
        while self._asked:
            asked = self._asked[0]
            if asked.held:
                return
            if asked.last is not None and asked.last < height:
                self._asked.pop(0)
                self._settle(asked, now)
            elif asked.height < height and asked.last is None and self._best(height, now) is None:
                self._drop(0)  # it came by another way, and there is no more
            elif (asked.last or 0) > height or now >= asked.deadline:
                # A block in the midst of an answer that is not whole stays so.
                self.failed(asked.peer, now=now)
            else:
                return

    def _settle(self, asked: _Asked, now: float) -> None:
        """An answer was taken in and is right: what its peer is worth."""
        claim = self._claims[asked.peer]
        full = asked.useful >= FULL
        last = asked.last or 0
        more = any(other.height > last for other in self._claims.values() if other.failures < TRIES)
        if full or not more:
            claim.failures = 0
        if full or more:  # a small answer says something only if somebody could have given more
            self._note_rate(asked.peer, asked.useful / max(asked.came - asked.since, 0.001), now)

    def _ask(self, height: int, now: float) -> None:
        peer = self._best(height, now)
        if peer is not None:
            self._asked.append(_Asked(peer, height, now, now + self._claims[peer].patience))
            self._void.pop(peer, None)
            self._out.to(peer, PullRange(height))

    def _best(self, height: int, now: float) -> MemberId | None:
        """Who failed least and was fastest, of those that claim this height."""
        able = [
            (claim.failures, -self._rate(peer, now), peer)
            for peer, claim in self._claims.items()
            if claim.height >= height
            and (claim.failures < TRIES or (height <= self._certain and now >= claim.rests_until))
        ]
        return min(able)[-1] if able else None

    def _rate(self, peer: MemberId, now: float) -> float:
        rate, at = self._rates.get(peer, (0.0, now - BELIEVED))
        return rate if now < at + BELIEVED else EXPECTED_RATE

    def _note_rate(self, peer: MemberId, rate: float, now: float) -> None:
        self._rates[peer] = rate, now
        self._rates = {peer: seen for peer, seen in self._rates.items() if now < seen[1] + BELIEVED}
