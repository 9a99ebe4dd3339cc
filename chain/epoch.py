"""What broadcast and ordering share while one committee serves."""

from dataclasses import dataclass

from chain.block import Slot, certificate_holds
from chain.committee import Committee
from chain.crypto import Signer, Verifier
from chain.ids import MemberId, RoomId
from chain.message import Committed, Signed
from chain.outbox import Outbox


@dataclass(slots=True)
class Epoch:
    """One committee, our place in it (None: we observe), and where effects go."""

    room: RoomId
    number: int
    committee: Committee
    me: int | None
    key: Signer | None
    verify: Verifier
    out: Outbox
    signing: bool
    """Whether our vote key may sign anything new now."""

    def identity(self, place: int) -> MemberId:
        return self.committee.members[place].identity

    def signature_holds(self, message: Signed) -> bool:
        """Whether the member it names signed it; false for a place that is not in this committee."""
        if message.signer >= self.committee.n:
            return False
        vote_key = self.committee.members[message.signer].vote_key
        return self.verify(vote_key, message.preimage(self.room), message.signature)

    def owner_signed(self, slot: Slot) -> bool:
        """Whether the owner of its lane, which is one of this committee, signed this slot."""
        vote_key = self.committee.members[slot.lane].vote_key
        return self.verify(vote_key, slot.preimage(self.room), slot.signature)

    def is_certified(self, message: Committed) -> bool:
        """Whether a quorum of this epoch signed the block, whatever its height."""
        return (
            message.block.epoch == self.number
            and len(message.block.cut) == self.committee.n
            and certificate_holds(
                message.certificate,
                message.block,
                room=self.room,
                committee=self.committee,
                verify=self.verify,
            )
        )

    @property
    def signer(self) -> tuple[int, Signer]:
        """Our place and key; only while `signing`."""
        assert self.signing and self.me is not None and self.key is not None
        return self.me, self.key
