"""Whether a proposal deserves a vote: what its justification shows, and whether its cut is whole."""

from msgspec.structs import replace

from chain.ballotbox import BallotBox
from chain.block import Block, Dep, Head
from chain.broadcast import Broadcast
from chain.crypto import ed25519_verify
from chain.ids import Hash, MemberId
from chain.judgement import Judge, Verdict
from chain.ledger import Tip, extend, first_cut
from chain.linearize import LaneSlots
from chain.merkle import Frontier
from chain.message import UNSIGNED, Propose, RoundChange, SlotMessage, signed
from tests.chain.lanes import CUT, ROOM, Lanes
from tests.chain.test_ballotbox import SEATS, TIP, A, B, empty_box, prevote, round_change


def judge() -> Judge:
    box = empty_box()
    return Judge(box.epoch, TIP, Broadcast(box.epoch, cut=TIP.cut), box)


def proposal(round_: int, *votes: RoundChange) -> Propose:
    """A proposal with this justification; which block it proposes does not matter here."""
    block = Block(
        TIP.epoch, TIP.height + 1, TIP.block, SEATS[0].id, TIP.cut, 0, Hash(A), TIP.committee.digest, None
    )
    bare = Propose(TIP.epoch, TIP.height + 1, round_, 0, block, votes, UNSIGNED)
    return signed(bare, room=TIP.room, key=SEATS[0].vote)


def test_a_quorum_that_asks_for_the_round_justifies_it() -> None:
    binding = judge().binding(proposal(2, *(round_change(place, 2 + place) for place in range(3))))
    assert (binding.valid, binding.block) == (True, None)


def test_the_polka_of_the_highest_round_binds() -> None:
    low = round_change(0, 3, lock=(0, A), polka=[prevote(place) for place in range(3)])
    high = round_change(1, 3, lock=(1, B), polka=[prevote(place, B, round_=1) for place in range(3)])
    for votes in ((low, high, round_change(2, 3)), (high, low, round_change(2, 3))):
        binding = judge().binding(proposal(3, *sorted(votes, key=lambda vote: vote.signer)))
        assert (binding.valid, binding.block) == (True, B)


def test_round_changes_for_an_earlier_round_height_or_epoch_justify_nothing() -> None:
    good = [round_change(0, 2), round_change(1, 2)]
    bare = round_change(2, 2)
    wrong = [
        replace(bare, round=1),
        replace(bare, height=bare.height - 1),
        replace(bare, epoch=bare.epoch - 1),
    ]
    for vote in wrong:
        late = signed(vote, room=TIP.room, key=SEATS[2].vote)
        assert not judge().binding(proposal(2, *good, late)).valid
    assert judge().binding(proposal(2, *good, bare)).valid


def test_a_round_change_that_nobody_signed_justifies_nothing() -> None:
    good = [round_change(0, 2), round_change(1, 2)]
    forged = replace(round_change(2, 2), signature=UNSIGNED)
    assert not judge().binding(proposal(2, *good, forged)).valid


def test_a_cut_that_holds_another_branch_than_a_slot_depends_on_is_not_closed() -> None:
    """Two of seven lie: one forks its lane, the other refers to the branch that loses."""
    forker, other, voter = 6, 5, 0
    lanes = Lanes(7, liars=range(1, 7))
    winning, losing = lanes.slot(forker, "yes"), lanes.slot(forker, "no")
    following = lanes.slot(other, "after no", deps=(Dep(forker, 1, losing.slot.id(ROOM)),))
    lanes.tell(voter, winning, by=forker)
    lanes.run()
    lanes.tell(voter, following, losing, *(lanes.ack(place, winning) for place in (1, 2, 3)), by=forker)
    lanes.run()
    peer = lanes.peers[voter]
    tip = Tip(
        room=ROOM,
        epoch=1,
        height=6,
        block=CUT,
        committee=peer.epoch.committee,
        spent=(),
        leader=lanes.people[1].id,
        cut=first_cut(7, CUT),
        frontier=Frontier(),
    )
    judging = Judge(peer.epoch, tip, peer.broadcast, BallotBox(peer.epoch, height=7))

    def verdict(*slots: SlotMessage) -> Verdict:
        block = block_of(tip, lanes.people[1].id, *slots)
        bare = Propose(1, 7, 0, 1, block, (), UNSIGNED)
        proposed = signed(bare, room=ROOM, key=lanes.people[1].vote)
        return judging.verdict(proposed, arrived=0.0, patience=2.0)

    assert verdict(winning) is Verdict.GOOD
    assert verdict(winning, following) is Verdict.BAD


def block_of(tip: Tip, leader: MemberId, *messages: SlotMessage) -> Block:
    """The block that orders these, one slot a lane."""
    cut, slots = list(tip.cut), LaneSlots()
    for message in messages:
        slot_id = message.slot.id(tip.room)
        cut[message.slot.lane] = Head(message.slot.seq, slot_id)
        slots[message.slot.lane] = [(slot_id, message.slot)]
    return extend(tip, cut=tuple(cut), leader=leader, slots=slots, verify=ed25519_verify).block
