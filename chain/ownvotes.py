"""What we signed at this height: journalled before it is sent, and never two for one position."""

from typing import TypeVar

from chain.ballotbox import Polka
from chain.codec import encode
from chain.epoch import Epoch
from chain.message import Precommit, Prevote, Propose, RoundChange, Vote, signed
from chain.records import Journal
from chain.resync import restored

V = TypeVar("V", Propose, Prevote, Precommit, RoundChange)


class OwnVotes:
    """Our votes of one height; every one of them is signed here and nowhere else."""

    def __init__(self, epoch: Epoch) -> None:
        self._epoch = epoch
        self.all: list[Vote] = []
        self.proposed = -1
        self.prevoted = -1
        self.precommitted = -1
        self.asked = 0
        """The highest round we sent a round-change for: nothing below it is voted on any more; 0: none."""

    def cast(self, unsigned: V) -> V:
        """Sign a vote, have it kept, then sent to all."""
        _, key = self._epoch.signer
        vote = signed(unsigned, room=self._epoch.room, key=key)
        assert not self.contains_position(vote), "one position, one signature"
        self._count(vote)
        self._epoch.out.keep(Journal(_key_of(vote), encode(vote)))
        self._epoch.out.to_all(vote)
        return vote

    def contains_position(self, vote: Vote) -> bool:
        return any(type(own) is type(vote) and own.round == vote.round for own in self.all)

    def keep_polka(self, polka: Polka) -> None:
        """What a precommit rests on, and what a later round-change has to show."""
        self._epoch.out.keep(Journal("polka", encode(polka)))

    def knows(self, vote: Vote) -> bool:
        """Whether we signed just this; what is attached is under no signature and does not count."""
        room = self._epoch.room
        return any(
            type(own) is type(vote) and own.round == vote.round and own.preimage(room) == vote.preimage(room)
            for own in self.all
        )

    def _count(self, vote: Vote) -> None:
        self.all.append(vote)
        match vote:
            case Propose():
                self.proposed = max(self.proposed, vote.round)
            case Prevote():
                self.prevoted = max(self.prevoted, vote.round)
            case Precommit():
                self.precommitted = max(self.precommitted, vote.round)
            case RoundChange():
                self.asked = max(self.asked, vote.round)

    def restore(self, journal: tuple[tuple[str, bytes], ...]) -> Polka | None:
        """Take up our votes of this height where they were left; the polka we remembered, if any."""
        polka = None
        kinds: dict[str, type[Vote]] = {_kind_of(kind): kind for kind in _KINDS}
        for key, message in journal:
            prefix, _, rest = key.partition(":")
            if prefix == "vote":
                self._count(restored(message, kinds[rest.partition(":")[0]]))
            elif prefix == "polka":
                polka = restored(message, Polka)
        return polka


_KINDS: tuple[type[Vote], ...] = (Propose, Prevote, Precommit, RoundChange)


def _kind_of(kind: type[Vote]) -> str:
    return kind.__name__.lower()


def _key_of(vote: Vote) -> str:
    return f"vote:{_kind_of(type(vote))}:{vote.round}"
