"""Every signature honest members let out, by position: never two different ones, whatever crashed in between.

A signature counts from the moment its step's transaction is durable. One that was made in a step that
crashed before that never left the machine, so the member may sign something else there after its restart.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from chain.crypto import Signer
from chain.ids import MemberId, Signature, SlotId
from chain.records import KeepSlot, Record


class Violation(AssertionError):
    """A property of the protocol does not hold."""


Position = tuple[MemberId, str, int, tuple[int, ...]]
"""Signer, kind, epoch, then seq, ackseq, or height and round."""

_PREIMAGE = re.compile(rb"pigeon/([a-z-]+)/v1\0", re.DOTALL)
_HEADER = 32 + 8


@dataclass
class _Votes:
    """What one member has voted at one height, to hold it to its own promises."""

    promised: int = 0
    """The highest round it asked for: nothing is to be voted below."""
    precommits: dict[int, bytes] = field(default_factory=dict)


class SignatureLog:
    """What has left, by position; raises Violation on the second, different signature at one."""

    def __init__(self) -> None:
        self.positions: dict[Position, bytes] = {}
        self._votes: dict[tuple[MemberId, int], _Votes] = {}

    def commit(self, signer: MemberId, made: Iterable[bytes], records: Iterable[Record]) -> None:
        """Record the preimages signed in a step whose transaction, `records`, is durable now."""
        slots = {keep.id: keep for keep in records if isinstance(keep, KeepSlot)}
        for preimage in made:
            self._commit(signer, preimage, slots)

    def _commit(self, signer: MemberId, preimage: bytes, slots: dict[SlotId, KeepSlot]) -> None:
        if preimage.startswith(b"pigeon.invalid/"):
            fields = preimage.decode().split("\n")[3].split(" ")
            epoch, height, round_ = (int(text) for text in fields[1:4])
            self._once(signer, "precommit", epoch, (height, round_), preimage)
            self._precommitted(signer, height, round_, fields[4].encode())
            return
        found = _PREIMAGE.match(preimage)
        if found is None:
            raise Violation(f"signed without a domain tag: {preimage[:40]!r}")
        kind, rest = found[1].decode(), preimage[found.end() :]
        epoch, payload = int.from_bytes(rest[32:_HEADER], "big"), rest[_HEADER:]
        if kind == "slot-signature":
            keep = slots.get(SlotId(payload))
            if keep is None:
                raise Violation("signed a slot that its transaction does not keep")
            self._once(signer, "slot", epoch, (keep.slot.seq,), preimage)
            return
        core = msgspec.msgpack.decode(payload)
        match kind:
            case "ack":
                self._once(signer, kind, epoch, (core[2],), preimage)
            case "prevote":
                self._once(signer, kind, epoch, (core[1], core[2]), preimage)
                self._at_or_above_promise(signer, kind, core[1], core[2])
            case "propose":
                self._once(signer, kind, epoch, (core[1], core[2]), preimage)
                self._at_or_above_promise(signer, kind, core[1], core[2])
            case "round-change":
                self._once(signer, kind, epoch, (core[1], core[2]), preimage)
                self._changed_round(signer, core[1], core[2], core[4])
            case "request":
                pass
            case _:
                raise Violation(f"the vote key signed a {kind}")

    def _once(
        self, signer: MemberId, kind: str, epoch: int, counters: tuple[int, ...], preimage: bytes
    ) -> None:
        position = (signer, kind, epoch, counters)
        if self.positions.setdefault(position, preimage) != preimage:
            raise Violation(f"{signer.hex()[:8]} signed two different things at {kind} {epoch} {counters}")

    def _at_or_above_promise(self, signer: MemberId, kind: str, height: int, round_: int) -> None:
        if round_ < self._votes.setdefault((signer, height), _Votes()).promised:
            raise Violation(f"{signer.hex()[:8]}: {kind} at {height}/{round_} after asking for a later round")

    def _precommitted(self, signer: MemberId, height: int, round_: int, block: bytes) -> None:
        self._at_or_above_promise(signer, "precommit", height, round_)
        self._votes[signer, height].precommits[round_] = block

    def _changed_round(
        self, signer: MemberId, height: int, round_: int, lock: tuple[int, bytes] | None
    ) -> None:
        votes = self._votes.setdefault((signer, height), _Votes())
        votes.promised = max(votes.promised, round_)
        precommitted = max((made for made in votes.precommits if made < round_), default=-1)
        if precommitted > (lock[0] if lock else -1):
            raise Violation(f"{signer.hex()[:8]} asks for {height}/{round_} and hides its precommit")


class LoggedSigner:
    """A vote key that remembers what it signed since its step began."""

    def __init__(self, key: Signer) -> None:
        self._key = key
        self.public = key.public
        self.made: list[bytes] = []

    def sign(self, message: bytes) -> Signature:
        self.made.append(message)
        return self._key.sign(message)

    def take(self) -> list[bytes]:
        made, self.made = self.made, []
        return made
