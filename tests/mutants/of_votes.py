"""Mutants of the vote: what is cast once, what a quorum is, what a round-change shows, when timers run."""

from tests.mutants.mutation import Edit, Mutant

ORDERING = "chain/ordering.py"
BALLOTBOX = "chain/ballotbox.py"
OWN = "chain/ownvotes.py"
VOTES = "simulation/test_mutant_schedules_votes.py::"
ROUNDS = "simulation/test_mutant_schedules_rounds.py::"
BOX = "chain/test_ballotbox.py::"

ONE_POSITION = Edit(
    OWN, '        assert not self.contains_position(vote), "one position, one signature"\n', ""
)
"""The last line of defence stands behind each rule that would let a second vote be cast."""

MUTANTS = (
    Mutant(
        "double-precommit",
        "A member precommits one block in a round, whatever it learns later.",
        (
            Edit(
                ORDERING,
                "if self.own.precommitted >= self.round or self.own.asked > self.round:",
                "if self.own.asked > self.round or any(\n"
                "            isinstance(vote, Precommit) and (vote.round, vote.block) =="
                " (self.round, block_id)\n"
                "            for vote in self.own.all\n"
                "        ):",
            ),
            Edit(
                ORDERING,
                "        elif self.polka.lock != (self.round, block_id):\n",
                "        elif self.round < 0:\n",
            ),
            ONE_POSITION,
        ),
        (VOTES + "test_a_member_that_precommitted_and_forgot_the_others_votes_precommits_nothing_else",),
    ),
    Mutant(
        "double-prevote",
        "A member prevotes one block in a round, whatever it is shown later.",
        (
            Edit(
                ORDERING,
                "if round_ < self.round or self.own.prevoted >= round_ or self.own.asked > round_:",
                "block_id = proposal.block.id(self.epoch.room)\n"
                "            if round_ < self.round or self.own.asked > round_ or any(\n"
                "                isinstance(vote, Prevote) and (vote.round, vote.block)"
                " == (round_, block_id)\n"
                "                for vote in self.own.all\n"
                "            ):",
            ),
            ONE_POSITION,
        ),
        (VOTES + "test_a_member_that_prevoted_and_forgot_the_proposal_prevotes_nothing_else",),
    ),
    Mutant(
        "votes-not-persisted",
        "A vote is journalled before it is sent.",
        (Edit(OWN, "        self._epoch.out.keep(Journal(_key_of(vote), encode(vote)))\n", ""),),
        (VOTES + "test_a_member_that_prevoted_and_forgot_the_proposal_prevotes_nothing_else",),
    ),
    Mutant(
        "own-votes-not-taken-up",
        "After a restart a member's own votes count as cast.",
        (
            Edit(
                OWN,
                '                self._count(restored(message, kinds[rest.partition(":")[0]]))\n',
                '                restored(message, kinds[rest.partition(":")[0]])\n',
            ),
        ),
        (VOTES + "test_a_member_that_prevoted_and_forgot_the_proposal_prevotes_nothing_else",),
    ),
    Mutant(
        "polka-not-persisted",
        "The polka that a precommit rests on is journalled with it.",
        (
            Edit(
                OWN, '        self._epoch.out.keep(Journal("polka", encode(polka)))\n', "        del polka\n"
            ),
        ),
        (ROUNDS + "test_a_member_that_restarts_after_its_precommit_still_shows_its_polka",),
    ),
    Mutant(
        "prevote-quorum-minus-1",
        "A polka is a quorum of prevotes.",
        (
            Edit(
                BALLOTBOX,
                "            if len(backing) >= self.epoch.committee.quorum:\n                return block",
                "            if len(backing) >= self.epoch.committee.quorum - 1:\n"
                "                return block",
            ),
        ),
        (BOX + "test_a_polka_is_a_quorum_of_prevotes_for_one_block_in_one_round",),
    ),
    Mutant(
        "certificate-quorum-minus-1",
        "A block is committed by a quorum of precommits.",
        (
            Edit(
                BALLOTBOX,
                "            if len(votes) < self.epoch.committee.quorum:\n",
                "            if len(votes) < self.epoch.committee.quorum - 1:\n",
            ),
            Edit(
                BALLOTBOX,
                "                if len(backing) >= self.epoch.committee.quorum:\n",
                "                if len(backing) >= self.epoch.committee.quorum - 1:\n",
            ),
        ),
        (BOX + "test_a_certificate_is_a_quorum_of_precommits_of_one_text_in_one_round",),
    ),
    Mutant(
        "vote-after-round-change",
        "Who asked for a later round votes in no earlier one.",
        (
            Edit(
                ORDERING,
                "if round_ < self.round or self.own.prevoted >= round_ or self.own.asked > round_:",
                "if round_ < self.round or self.own.prevoted >= round_:",
            ),
            Edit(
                ORDERING,
                "if self.own.precommitted >= self.round or self.own.asked > self.round:",
                "if self.own.precommitted >= self.round:",
            ),
        ),
        (ROUNDS + "test_who_gave_up_on_a_round_does_not_vote_in_it_when_the_proposal_comes_late",),
    ),
    Mutant(
        "precommit-after-round-change",
        "Who asked for a later round precommits nothing in the one it gave up.",
        (
            Edit(
                ORDERING,
                "if self.own.precommitted >= self.round or self.own.asked > self.round:",
                "if self.own.precommitted >= self.round:",
            ),
        ),
        (ROUNDS + "test_who_gave_up_on_a_round_does_not_precommit_when_its_polka_comes_late",),
    ),
    Mutant(
        "propose-after-round-change",
        "Who asked for a later round proposes in no earlier one.",
        (
            Edit(
                ORDERING,
                "if self.leader != me or self.own.proposed >= round_ or self.own.asked > round_:",
                "if self.leader != me or self.own.proposed >= round_:",
            ),
        ),
        (ROUNDS + "test_a_leader_that_gave_up_on_its_round_proposes_nothing_in_it",),
    ),
    Mutant(
        "round-change-hides-polka",
        "A round-change names and shows the highest polka its signer knows.",
        (
            Edit(
                ORDERING,
                "lock, prevotes = (self.polka.lock, self.polka.prevotes) if self.polka else (None, ())",
                "lock, prevotes = None, ()",
            ),
        ),
        (ROUNDS + "test_a_block_that_may_have_been_decided_is_proposed_again",),
    ),
    Mutant(
        "polka-of-one-too-few-shown",
        "The polka that a round-change names is shown by a quorum of prevotes.",
        (
            Edit(
                BALLOTBOX,
                "and len(signers) == len(vote.polka) >= self.epoch.committee.quorum",
                "and len(signers) == len(vote.polka) >= self.epoch.committee.quorum - 1",
            ),
        ),
        (BOX + "test_a_round_change_shows_the_polka_that_it_names_or_counts_for_nothing",),
    ),
    Mutant(
        "polka-shown-by-one-signer",
        "The prevotes of a polka are of distinct members.",
        (
            Edit(
                BALLOTBOX,
                "and len(signers) == len(vote.polka) >= self.epoch.committee.quorum",
                "and len(vote.polka) >= self.epoch.committee.quorum",
            ),
        ),
        (BOX + "test_a_round_change_shows_the_polka_that_it_names_or_counts_for_nothing",),
    ),
    Mutant(
        "polka-signatures-not-checked",
        "The prevotes of a polka are signed.",
        (
            Edit(
                BALLOTBOX,
                "and (self._known(prevote) == prevote or self.epoch.signature_holds(prevote))",
                "and prevote.signer >= 0",
            ),
        ),
        (BOX + "test_a_round_change_shows_the_polka_that_it_names_or_counts_for_nothing",),
    ),
    Mutant(
        "polka-of-another-block-shown",
        "The prevotes of a polka are for the round and block that the round-change names.",
        (
            Edit(
                BALLOTBOX,
                "and (prevote.round, prevote.block) == (round_, block)",
                "and prevote.round <= round_ and block",
            ),
        ),
        (BOX + "test_a_round_change_shows_the_polka_that_it_names_or_counts_for_nothing",),
    ),
    Mutant(
        "vote-signature-not-checked",
        "A vote counts only if its signer signed it.",
        (
            Edit(
                BALLOTBOX,
                "if not self.epoch.signature_holds(vote) or not (",
                "if not (",
            ),
        ),
        (BOX + "test_a_vote_that_its_signer_did_not_sign_is_not_counted",),
    ),
    Mutant(
        "second-vote-replaces-the-first",
        "Of two votes of one signer at one position the first stays, and the pair is evidence.",
        (
            Edit(
                BALLOTBOX,
                "        known = self._known(vote)\n        if known == vote or not self._has_room(vote):",
                "        known = None\n        if not self._has_room(vote):",
            ),
        ),
        (BOX + "test_of_two_votes_at_one_position_the_first_stays",),
    ),
    Mutant(
        "liars-alone-move-the-round",
        "A member joins a round-change when one honest member at least asks for it.",
        (Edit("chain/committee.py", "        return self.f + 1\n", "        return max(1, self.f)\n"),),
        (BOX + "test_a_round_is_joined_once_more_members_than_may_lie_ask_for_it",),
    ),
    Mutant(
        "round-entered-by-one-too-few",
        "A member enters a later round when a quorum is there.",
        (
            Edit(
                BALLOTBOX,
                "        quorum = self.epoch.committee.quorum\n        return sorted(",
                "        quorum = self.epoch.committee.quorum - 1\n        return sorted(",
            ),
        ),
        (BOX + "test_a_round_is_entered_once_a_quorum_is_there",),
    ),
    Mutant(
        "timer-re-sends",
        "The timer fires once a round; what it said is not said again while nothing happens.",
        (
            Edit(
                ORDERING,
                "        if self.own.asked > self.round:\n            return False\n"
                "        if self.broadcast.anything_unordered()",
                "        if self.own.asked > self.round:\n"
                "            pause = self.base_timeout * 2 ** min(self.round, BACKOFF_CAP)\n"
                "            if self._armed_at is None or now >= self._armed_at + pause:\n"
                "                self._armed_at = now\n"
                "                for vote in self.votes_for_peer(but=frozenset()):\n"
                "                    self.epoch.out.to_all(vote)\n"
                "            self.deadline = self._armed_at + pause\n"
                "            return False\n"
                "        if self.broadcast.anything_unordered()",
            ),
        ),
        (ROUNDS + "test_a_round_that_cannot_go_on_is_asked_for_once",),
    ),
    Mutant(
        "timer-while-idle",
        "No timer runs while nothing is to be ordered.",
        (
            Edit(
                ORDERING,
                "if not self.broadcast.anything_delivered() and self.polka is None:",
                "if self.height < 0:",
            ),
        ),
        (ROUNDS + "test_nobody_loses_patience_with_a_leader_that_has_nothing_to_propose",),
    ),
    Mutant(
        "leader-that-is-gone-awaited",
        "A leader whose link is known closed costs no timeout.",
        (
            Edit(
                ORDERING,
                "if self.broadcast.anything_unordered() and self._leader_is_gone():",
                "if self.broadcast.anything_unordered() and self.height < 0:",
            ),
        ),
        ("simulation/test_exact.py::test_a_leader_known_to_be_gone_costs_five_delays[4]",),
    ),
    Mutant(
        "who-gave-up-hears-nothing",
        "Who gave up on a round is shown that the others decided in it.",
        (
            Edit(
                ORDERING,
                "        return sorted(gave_up & self.epoch.out.members)\n",
                "        return sorted(gave_up - gave_up)\n",
            ),
        ),
        (
            "simulation/test_directed.py::"
            "test_a_member_that_gave_up_on_a_round_hears_that_the_others_committed_in_it",
        ),
    ),
)
