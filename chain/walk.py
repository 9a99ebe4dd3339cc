"""The walk from epoch to epoch by final blocks and certificates alone, for whoever trusts nobody on the way.

What a walk began from is all that it rests on: a genesis, or an anchor got from elsewhere.
"""

from chain.block import Block, Certificate, certificate_holds
from chain.committee import Committee
from chain.control import Anchor, Genesis
from chain.crypto import Verifier
from chain.errors import InvalidBlockError
from chain.ids import BlockId, RoomId
from chain.ledger import genesis_tip

_REWRITTEN = "this room's record is not the one that the anchor vouches for: somebody rewrote it"


class Walk:
    """Where it has got to: the committee that serves after `block`, the last final block (or genesis)."""

    def __init__(
        self,
        *,
        room: RoomId,
        epoch: int,
        height: int,
        block: BlockId,
        committee: Committee,
        verify: Verifier,
        anchor: Anchor | None = None,
    ) -> None:
        self.room = room
        self.epoch = epoch
        self.height = height
        self.block = block
        self.committee = committee
        self.smallest_quorum = committee.quorum
        """So few signers could have made up all that follows from here, `committee` counted in."""
        self._verify = verify
        self._anchor = anchor
        self._check_anchor(height, block, after=-1)

    @classmethod
    def from_genesis(cls, genesis: Genesis, *, verify: Verifier, anchor: Anchor | None = None) -> "Walk":
        """From height 0, where the founder is alone; `genesis` has been checked (`decode_genesis`).

        With an anchor, which vouches for a final block further on, the walk has to lead through it:
        InvalidBlockError as soon as it does not.
        """
        start = genesis_tip(genesis)
        return cls(
            room=start.room,
            epoch=0,
            height=0,
            block=start.block,
            committee=start.committee,
            verify=verify,
            anchor=anchor,
        )

    @classmethod
    def from_anchor(cls, anchor: Anchor, final: Block, *, room: RoomId, verify: Verifier) -> "Walk":
        """From the epoch that the anchor's block begins; InvalidBlockError if `final` is not that block.

        It needs no certificate: whoever gave the anchor vouched for it.
        """
        if final.height != anchor.height or final.id(room) != anchor.block:
            raise InvalidBlockError(f"block {final.height} is not the one that the anchor names")
        return cls(
            room=room,
            epoch=final.epoch + 1,
            height=final.height,
            block=anchor.block,
            committee=_committee_after(final),
            verify=verify,
        )

    def follow(self, final: Block, certificate: Certificate) -> None:
        """Check the block that ends this epoch, by its header alone, and go on to the next committee.

        InvalidBlockError, and nothing has changed, if it ends no epoch or another one, if no quorum of this
        committee signed it, or if it contradicts the anchor.
        """
        following = _committee_after(final)
        if (
            final.epoch != self.epoch
            or final.committee != self.committee.digest
            or final.height <= self.height
            or len(final.cut) != self.committee.n
        ):
            raise InvalidBlockError(f"block {final.height} does not belong to epoch {self.epoch}")
        if not certificate_holds(
            certificate, final, room=self.room, committee=self.committee, verify=self._verify
        ):
            raise InvalidBlockError(f"block {final.height} lacks a quorum's signatures")
        block = final.id(self.room)
        self._check_anchor(final.height, block, after=self.height)
        self.epoch += 1
        self.height, self.block, self.committee = final.height, block, following
        self.smallest_quorum = min(self.smallest_quorum, following.quorum)

    @property
    def anchored(self) -> bool:
        """Whether the walk has been through its anchor's block, if it has one."""
        return self._anchor is None or self._anchor.height <= self.height

    def _check_anchor(self, height: int, block: BlockId, *, after: int) -> None:
        """Final blocks come in a row: a walk that gets past the anchor's height comes through its block."""
        anchor = self._anchor
        if anchor is None or not after < anchor.height <= height:
            return
        if (height, block) != (anchor.height, anchor.block):
            raise InvalidBlockError(_REWRITTEN)


def _committee_after(final: Block) -> Committee:
    committee = final.next_committee
    if committee is None or not committee.is_well_formed():
        raise InvalidBlockError(f"block {final.height} ends no epoch")
    return committee
