"""Mutants of membership: which motions are valid, who is counted for them, and what they change."""

from tests.mutants.mutation import Edit, Mutant

MEMBERSHIP = "chain/membership.py"
CONTROL = "chain/control.py"
HISTORY = "chain/history.py"
RULES = "chain/test_membership.py::"
INVALID = RULES + "test_what_could_not_take_effect_is_no_motion"
FORMER = "simulation/test_membership_former.py::"
SCHEDULES = "simulation/test_mutant_schedules_joins.py::"

MUTANTS = (
    Mutant(
        "motion-moved-again",
        "What stands in a slot of ours is not moved again before it is delivered.",
        (
            Edit(
                "chain/desk.py",
                "if not any(_same_end(motion, other) for other in (*self._to_move, *self._moved)):",
                "if not any(_same_end(motion, other) for other in self._to_move):",
            ),
        ),
        (
            "simulation/test_motions_once.py::"
            "test_whoever_is_caught_again_and_again_is_moved_out_once_and_room_is_left_for_a_newcomer",
        ),
    ),
    Mutant(
        "approval-counted-twice",
        "A member counts once for a motion, however often it approves.",
        (
            Edit(
                MEMBERSHIP,
                "return self._backed(named, motion, backers | {author}, committee)",
                "again = MemberId(author + bytes([len(backers)]))\n"
                "                return self._backed(named, motion, backers | {again}, committee)",
            ),
        ),
        (RULES + "test_nobody_counts_twice",),
    ),
    Mutant(
        "motion-quorum-minus-1",
        "A motion takes effect with a quorum for it.",
        (
            Edit(
                MEMBERSHIP,
                "passed = motion if len(backers) >= committee.quorum else None",
                "passed = motion if len(backers) >= committee.quorum - 1 else None",
            ),
        ),
        (RULES + "test_a_motion_passes_with_its_author_and_two_more_of_four",),
    ),
    Mutant(
        "second-motion-in-one-epoch",
        "The first motion to reach the quorum takes effect; nothing after it counts.",
        (
            Edit(
                MEMBERSHIP,
                "        if self.passed is not None:\n            return self\n",
                "",
            ),
        ),
        (RULES + "test_the_first_to_reach_the_quorum_takes_effect_and_nothing_after_it_counts",),
    ),
    Mutant(
        "spent-invitation-accepted",
        "An invitation serves once.",
        (
            Edit(
                MEMBERSHIP,
                "return voucher.key not in spent and committee.place(voucher.inviter) is not None",
                "return committee.place(voucher.inviter) is not None",
            ),
        ),
        (RULES + "test_an_invitation_serves_once",),
    ),
    Mutant(
        "strangers-invitation-accepted",
        "An invitation is a member's word.",
        (
            Edit(
                MEMBERSHIP,
                "return voucher.key not in spent and committee.place(voucher.inviter) is not None",
                "return voucher.key not in spent",
            ),
        ),
        (INVALID,),
    ),
    Mutant(
        "spent-vote-key-accepted",
        "A vote key is new to its room.",
        (
            Edit(
                MEMBERSHIP,
                "                and request.vote_key not in spent\n"
                "                and len(spent) + 2 <= MAX_SPENT\n",
                "                and len(spent) + 2 <= MAX_SPENT\n",
            ),
            Edit(
                MEMBERSHIP,
                "                and request.vote_key not in spent\n"
                "                and len(spent) + 1 <= MAX_SPENT\n",
                "                and len(spent) + 1 <= MAX_SPENT\n",
            ),
        ),
        (INVALID,),
    ),
    Mutant(
        "taken-nick-accepted",
        "No two members have one nick.",
        (
            Edit(
                MEMBERSHIP,
                "                and all(request.nick != member.nick for member in committee.members)\n",
                "",
            ),
        ),
        (INVALID,),
    ),
    Mutant(
        "last-member-removed",
        "The last member stays.",
        (
            Edit(
                MEMBERSHIP,
                "return committee.n > 1 and committee.place(member) is not None",
                "return committee.place(member) is not None",
            ),
        ),
        (RULES + "test_a_full_room_admits_nobody_and_the_last_member_stays",),
    ),
    Mutant(
        "stranger-removed",
        "Only a member can be removed.",
        (
            Edit(
                MEMBERSHIP,
                "return committee.n > 1 and committee.place(member) is not None",
                "return committee.n > 1",
            ),
        ),
        (INVALID,),
    ),
    Mutant(
        "removed-member-still-counted",
        "From the next epoch on nothing that a removed member signs counts.",
        (
            Edit(
                MEMBERSHIP,
                "members = [member for member in members if member.identity != gone]",
                "assert gone",
            ),
        ),
        (RULES + "test_a_removal_spends_nothing_and_forgets_no_key",),
    ),
    Mutant(
        "request-signatures-not-checked",
        "A request is signed by both keys that it names.",
        (
            Edit(
                CONTROL,
                "        if not verify(self.vote_key, payload, self.vote_signature):\n"
                "            return False\n",
                "",
            ),
        ),
        ("chain/test_control.py::test_a_changed_request_does_not_hold",),
    ),
    Mutant(
        "secret-not-shown",
        "Who uses an invitation shows that it holds the secret.",
        (
            Edit(
                CONTROL,
                "return self.voucher.holds(room=room, verify=verify) and verify(\n"
                "            self.voucher.key, payload, self.possession\n        )",
                "return self.voucher.holds(room=room, verify=verify)",
            ),
        ),
        ("chain/test_control.py::test_a_voucher_is_worth_nothing_without_the_secret_it_names",),
    ),
    Mutant(
        "expired-invitation-approved",
        "By the rule `auto` a node approves no invitation that is over.",
        (
            Edit(
                "chain/desk.py",
                "            and motion.request.voucher.expires * 1000 >= clock_ms\n",
                "",
            ),
        ),
        (SCHEDULES + "test_by_the_rule_auto_nobody_approves_an_invitation_that_is_over",),
    ),
    Mutant(
        "wish-forgotten-with-its-epoch",
        "What lapsed with an epoch is moved again while its user wants it.",
        (
            Edit(
                "chain/desk.py",
                "            elif self._may_move(motion):\n               "
                " self._to_move.append(motion)\n        self._passed_on",
                "        self._passed_on",
            ),
        ),
        ("simulation/test_membership_removal.py::test_two_that_leave_at_once_go_one_epoch_after_the_other",),
    ),
    Mutant(
        "history-without-certificates",
        "Each block of the past brings a quorum's signatures.",
        (
            Edit(
                HISTORY,
                "            and certificate_holds(\n"
                "                message.certificate,\n"
                "                block,\n"
                "                room=self.tip.room,\n"
                "                committee=self.tip.committee,\n"
                "                verify=self._verify,\n"
                "            )\n",
                "",
            ),
        ),
        ("chain/test_history.py::test_a_block_of_the_past_is_taken_with_its_certificate_only",),
    ),
    Mutant(
        "history-slot-signature-not-checked",
        "A slot of the past carries the signature of its owner.",
        (
            Edit(
                HISTORY,
                "if not self._verify(vote_key, slot.preimage(self.tip.room), slot.signature):",
                "if not vote_key:",
            ),
        ),
        ("chain/test_history.py::test_a_slot_of_the_past_is_taken_with_its_owners_signature_only",),
    ),
    Mutant(
        "former-keys-still-count",
        "A vote or ack counts only under the vote key that its member has in this epoch.",
        (
            Edit(
                "chain/epoch.py",
                "        return self.verify(vote_key, message.preimage(self.room), message.signature)\n",
                "        _EVER.update(dict.fromkeys(member.vote_key for member in self.committee.members))\n"
                "        text = message.preimage(self.room)\n"
                "        return any(self.verify(key, text, message.signature) for key in"
                " (vote_key, *_EVER))\n",
            ),
            Edit(
                "chain/epoch.py", "\n\n@dataclass(slots=True)\n", "\n_EVER = {}\n\n\n@dataclass(slots=True)\n"
            ),
        ),
        (
            FORMER + "test_a_removed_members_votes_and_acks_never_count_whoever_hands_them_on",
            FORMER + "test_a_retired_key_never_counts",
        ),
    ),
    Mutant(
        "old-vote-key-kept",
        "From the epoch after a rekey on the member has its new vote key.",
        (
            Edit(
                MEMBERSHIP,
                "                Member(member.identity, request.vote_key, member.nick)\n",
                "                Member(member.identity, member.vote_key, member.nick)\n",
            ),
        ),
        (RULES + "test_a_rekey_changes_the_vote_key_and_nothing_else",),
    ),
    Mutant(
        "leaving-needs-consent",
        "Whoever wants to leave leaves, and nobody is asked.",
        (Edit("chain/desk.py", "                            or _is_leave(control, author)\n", ""),),
        ("simulation/test_membership_removal.py::test_whoever_wants_to_leave_leaves_and_nobody_is_asked",),
    ),
    Mutant(
        "ordered-before-a-restart-and-forgotten",
        "What the room's rule asks for is approved, be it ordered before a restart and not answered then.",
        (
            Edit(
                "chain/desk.py",
                "                if leaves or self._may_admit(motion, tip, clock_ms):",
                "                if False:",
            ),
        ),
        (
            "simulation/test_membership_restarts.py::"
            "test_a_motion_ordered_while_a_member_could_not_sign_is_approved_after_another_restart",
        ),
    ),
    Mutant(
        "new-keys-without-end",
        "By the rule `auto` a member gets one new vote key an hour.",
        (
            Edit(
                "chain/desk.py",
                "if last is None or now - last[1] >= REKEY_INTERVAL:",
                "if last is None or now >= last[1]:",
            ),
        ),
        (
            "simulation/test_membership_rekey.py::"
            "test_by_rule_a_member_gets_one_new_key_an_hour_and_a_user_can_give_another",
        ),
    ),
    Mutant(
        "motions-without-bound",
        "A member's motions count up to so many in an epoch.",
        (
            Edit(
                MEMBERSHIP,
                "if self._moved_by(author) >= MOTIONS_PER_MEMBER or",
                "if self._moved_by(author) >= 10**6 or",
            ),
        ),
        ("simulation/test_liars_bounds.py::test_motions_beyond_a_members_share_of_an_epoch_do_not_count",),
    ),
    Mutant(
        "guests-without-bound",
        "So many strangers may wait to be let in, and no more.",
        (
            Edit(
                "chain/desk.py",
                "if len(self.guests) >= MAX_GUESTS and peer not in self.guests:",
                "if len(self.guests) >= 10**6:",
            ),
        ),
        ("simulation/test_membership_liars.py::test_more_strangers_than_a_member_can_keep_are_turned_away",),
    ),
    Mutant(
        "strangers-votes-taken",
        "Of a stranger no vote is taken, whoever signed it.",
        (
            Edit(
                "chain/intake.py",
                "        if peer not in state.out.members:\n"
                "            state.out.fault(peer, FaultKind.STRANGER, type(message).__name__)\n"
                "            return\n",
                "",
            ),
        ),
        ("simulation/test_membership_liars.py::test_a_stranger_gets_no_slots_blocks_or_votes_counted",),
    ),
    Mutant(
        "rekey-of-long-ago-backed",
        "What a member asked for long ago is not brought up by another while it is here itself.",
        (
            Edit(
                "chain/desk.py",
                "return not linked or self._own_word.get(request.identity) == request.vote_key",
                "return not linked or bool(request.vote_key)",
            ),
        ),
        (
            "simulation/test_membership_former.py::"
            "test_a_request_of_long_ago_brought_up_by_another_takes_no_members_key_away",
        ),
    ),
)
