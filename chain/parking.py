"""Slots whose predecessors have not come yet: bounded for each member that signed them."""

from collections.abc import Iterable

from chain.codec import encode
from chain.ids import MemberId, SlotId
from chain.records import KeepSlot

PARKED_BYTES_PER_OWNER = 8 * 1024 * 1024


class Parking:
    """Waiting slots by id, and which of them wait for which missing slot."""

    def __init__(self) -> None:
        self._parked: dict[SlotId, tuple[KeepSlot, MemberId, int]] = {}
        self._waiting: dict[SlotId, set[SlotId]] = {}
        self._bytes: dict[int, int] = {}

    def __contains__(self, slot_id: SlotId) -> bool:
        return slot_id in self._parked

    def waits_for(self, slot_id: SlotId) -> bool:
        """Whether some parked slot refers to this one."""
        return slot_id in self._waiting

    def park(self, kept: KeepSlot, *, waits_for: Iterable[SlotId], peer: MemberId) -> bool:
        """Keep a slot until one of what it waits for comes; false if its owner's share is used up."""
        size = len(encode(kept.slot)) + sum(len(body.data) + 64 for body in kept.bodies)
        owner = kept.slot.lane
        if self._bytes.get(owner, 0) + size > PARKED_BYTES_PER_OWNER:
            return False
        self._parked[kept.id] = kept, peer, size
        self._bytes[owner] = self._bytes.get(owner, 0) + size
        for missing in waits_for:
            self._waiting.setdefault(missing, set()).add(kept.id)
        return True

    def release(self, arrived: SlotId) -> list[tuple[KeepSlot, MemberId]]:
        """Hand out, with who sent it, whatever waited for this slot, to be looked at again."""
        return self._take(sorted(self._waiting.pop(arrived, ())))

    def release_all(self) -> list[tuple[KeepSlot, MemberId]]:
        """Hand out everything: the cut moved, and with it what counts as missing."""
        self._waiting.clear()
        return sorted(self._take(list(self._parked)), key=lambda entry: (entry[0].slot.seq, entry[0].id))

    def _take(self, ids: list[SlotId]) -> list[tuple[KeepSlot, MemberId]]:
        taken = []
        for slot_id in ids:
            if slot_id in self._parked:
                kept, peer, size = self._parked.pop(slot_id)
                self._bytes[kept.slot.lane] -= size
                taken.append((kept, peer))
        return taken
