"""Mutants of proposals: who may propose what, what binds its leader, and what it takes to be voted for."""

from tests.mutants.mutation import Edit, Mutant

ORDERING = "chain/ordering.py"
EVIDENCE = "chain/evidence.py"
JUDGEMENT = "chain/judgement.py"
VOTES = "simulation/test_mutant_schedules_votes.py::"
ROUNDS = "simulation/test_mutant_schedules_rounds.py::"

MUTANTS = (
    Mutant(
        "bound-value-ignored-by-voters",
        "A leader whose justification shows a polka is bound to its block, or gets no vote.",
        (
            Edit(
                JUDGEMENT,
                "if bound and block.id(self.epoch.room) != binding.block:",
                "if False:",
            ),
        ),
        (ROUNDS + "test_a_proposal_that_ignores_the_block_it_is_bound_to_gets_no_vote",),
    ),
    Mutant(
        "bound-value-ignored-by-leader",
        "A leader that was shown a polka proposes its block again.",
        (
            Edit(
                ORDERING,
                "block = self._block(lock[1]) if lock is not None else self._fresh_block()",
                "block = self._fresh_block()",
            ),
        ),
        (ROUNDS + "test_a_block_that_may_have_been_decided_is_proposed_again",),
    ),
    Mutant(
        "lowest-polka-binds",
        "Of several polkas the one of the highest round binds.",
        (
            Edit(
                "chain/evidence.py",
                "return max((vote.lock for vote in votes if vote.lock is not None), default=None)",
                "return min((vote.lock for vote in votes if vote.lock is not None), default=None)",
            ),
        ),
        ("chain/test_judgement.py::test_the_polka_of_the_highest_round_binds",),
    ),
    Mutant(
        "vote-for-unacked-fork",
        "A fresh cut gets a vote only where each new head was acked by the voter or is certified.",
        (
            Edit(
                JUDGEMENT,
                "            or not all(vouches_for(self.broadcast, place, head)"
                " for place, head in enumerate(block.cut))\n",
                "",
            ),
        ),
        (VOTES + "test_a_cut_with_the_branch_of_a_fork_that_a_member_did_not_ack_gets_no_vote_of_it",),
    ),
    Mutant(
        "derived-fields-not-checked",
        "Everything in a block but its cut and leader is derived anew by each voter.",
        (
            Edit(
                JUDGEMENT,
                "if extension is None or extension.block != block:",
                "if extension is None:",
            ),
        ),
        (VOTES + "test_a_block_with_a_wrong_derived_field_gets_no_vote",),
    ),
    Mutant(
        "unclosed-cut-accepted",
        "A cut holds, by their ids, all that its slots depend on.",
        (
            Edit(
                JUDGEMENT,
                "dep.seq <= tip.cut[dep.lane].seq or dep.id in chosen for slot in every",
                "dep.seq <= tip.cut[dep.lane].seq or chosen for slot in every",
            ),
        ),
        (
            "chain/test_judgement.py::"
            "test_a_cut_that_holds_another_branch_than_a_slot_depends_on_is_not_closed",
        ),
    ),
    Mutant(
        "empty-block-accepted",
        "A block orders something.",
        (Edit(JUDGEMENT, "            and block.cut != self.tip.cut\n", ""),),
        (VOTES + "test_a_cut_that_stands_still_or_goes_back_gets_no_vote",),
    ),
    Mutant(
        "cut-backwards-accepted",
        "No lane of a cut lies below the cut before, or on another branch.",
        (
            Edit(
                JUDGEMENT,
                "and all(new == old or new.seq > old.seq for old, new in"
                " zip(self.tip.cut, block.cut, strict=True))",
                "and len(block.cut) == len(self.tip.cut)",
            ),
        ),
        (VOTES + "test_a_cut_that_stands_still_or_goes_back_gets_no_vote",),
    ),
    Mutant(
        "wrong-leader-accepted",
        "Only the leader of a round proposes in it.",
        (Edit(ORDERING, "if proposal.signer != self.tip.leader_of(proposal.round):", "if False:"),),
        (VOTES + "test_a_proposal_by_a_member_that_does_not_lead_the_round_gets_no_vote",),
    ),
    Mutant(
        "anothers-block-accepted",
        "A fresh block names the member that proposes it as its leader.",
        (Edit(JUDGEMENT, "            block.leader != leader\n            or not", "            not"),),
        (VOTES + "test_a_fresh_block_in_the_name_of_another_leader_gets_no_vote",),
    ),
    Mutant(
        "justification-not-checked",
        "A proposal of a later round shows that a quorum asked for it.",
        (
            Edit(
                ORDERING,
                "            if not binding.valid:\n",
                "            if False:\n",
            ),
        ),
        (ROUNDS + "test_a_proposal_of_a_later_round_without_a_quorum_that_asked_for_it_gets_no_vote",),
    ),
    Mutant(
        "justification-quorum-minus-1",
        "A justification holds round-changes of a quorum.",
        (
            Edit(
                EVIDENCE,
                "if signers != sorted(set(signers)) or len(signers) < committee.quorum or",
                "if signers != sorted(set(signers)) or len(signers) < committee.quorum - 1 or",
            ),
        ),
        (ROUNDS + "test_a_proposal_of_a_later_round_without_a_quorum_that_asked_for_it_gets_no_vote",),
    ),
    Mutant(
        "justification-of-earlier-rounds",
        "A justification holds round-changes for this round or a later one.",
        (
            Edit(
                EVIDENCE,
                "        and asked.round >= vote.round\n",
                "",
            ),
        ),
        ("chain/test_judgement.py::test_round_changes_for_an_earlier_round_height_or_epoch_justify_nothing",),
    ),
    Mutant(
        "justification-signatures-not-checked",
        "Each round-change in a justification is signed by who it names.",
        (
            Edit(
                JUDGEMENT,
                "        return same or self.epoch.signature_holds(vote)\n",
                "        return same or True\n",
            ),
        ),
        ("chain/test_judgement.py::test_a_round_change_that_nobody_signed_justifies_nothing",),
    ),
    Mutant(
        "omission-tolerated",
        "A fresh cut that leaves out what was delivered long ago gets no vote.",
        (Edit(JUDGEMENT, "            or self._omits_delivered(block, before=arrived - patience)\n", ""),),
        (ROUNDS + "test_a_leader_that_leaves_out_a_lane_for_long_loses_its_round",),
    ),
    Mutant(
        "commit-without-a-certificate",
        "A committed block that comes from a peer brings a quorum's signatures.",
        (Edit(ORDERING, "if not self.epoch.is_certified(message):", "if False:"),),
        (VOTES + "test_a_block_that_a_peer_calls_committed_needs_a_quorums_signatures",),
    ),
)
