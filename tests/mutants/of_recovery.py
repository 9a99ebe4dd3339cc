"""Mutants of what survives: restarts, lost links, relays, members that are behind, epochs that end."""

from tests.mutants.mutation import Edit, Mutant

REPLICA = "chain/replica.py"
INTAKE, BACKLOG, ANSWERS = "chain/intake.py", "chain/backlog.py", "chain/answers.py"
GREETING = "chain/greeting.py"
STATE = "chain/state.py"
RESYNC = "chain/resync.py"
SCHEDULES = "simulation/test_mutant_schedules.py::"
RECOVERY = "simulation/test_recovery.py::"
ROLLED_BACK = RECOVERY + "test_a_member_whose_disk_was_rolled_back_signs_nothing_more_and_says_so"

MUTANTS = (
    Mutant(
        "given-up-for-good",
        "What more members claim than may lie is asked for again after a rest, however often it failed.",
        (
            Edit(
                "chain/fetch.py",
                "(claim.failures < TRIES or (height <= self._certain and now >= claim.rests_until))",
                "claim.failures < TRIES",
            ),
        ),
        (
            "chain/test_fetch.py::test_what_as_many_members_claim_as_one_asks_for_is_asked_for_again_after_a_rest",
        ),
    ),
    Mutant(
        "strangers-vouch-for-heights",
        "Only members say for certain how far the room is.",
        (
            Edit(
                "chain/fetch.py",
                "for peer, claim in self._claims.items() if peer in members)",
                "for peer, claim in self._claims.items() if members)",
            ),
        ),
        ("chain/test_fetch.py::test_what_strangers_or_too_few_claim_is_not_asked_for_again",),
    ),
    Mutant(
        "no-hello-reply",
        "A HELLO that asks for an answer gets one.",
        (Edit(GREETING, "        if hello.reply:\n            self.hello(peer)\n", ""),),
        (SCHEDULES + "test_a_hello_that_asks_for_a_reply_gets_one",),
    ),
    Mutant(
        "confirmed-once-and-not-at-the-next-height",
        "Confirmations of a journal are of one height: at the next one they are asked for anew.",
        (Edit(REPLICA, "        self._greeting.seek_confirmation()\n", ""),),
        (
            "simulation/test_recovery_link_by_link.py::"
            "test_a_member_killed_at_any_boundary_signs_again_when_its_links_come_back_one_by_one",
        ),
    ),
    Mutant(
        "no-relay",
        "What is valid and new is forwarded to linked members that are not linked to its signer.",
        (
            Edit(
                INTAKE,
                "            if listed is not None and author not in listed:",
                "            if False:",
            ),
        ),
        (RECOVERY + "test_one_missing_link_and_one_absent_member_do_not_stop_a_room_of_four",),
    ),
    Mutant(
        "persisted-after-send",
        "The tick's transaction stands before everything that is sent or shown.",
        (
            Edit(
                "chain/outbox.py",
                "effects: list[Effect] = [Persist(tuple(self._records))] if self._records else []",
                "effects: list[Effect] = []",
            ),
            Edit(
                "chain/outbox.py",
                "        effects.extend(self._notices)\n",
                "        effects.extend(self._notices)\n"
                "        if self._records:\n"
                "            effects.append(Persist(tuple(self._records)))\n",
            ),
        ),
        seeds=range(8),
    ),
    Mutant(
        "ack-numbers-begin-anew",
        "After a restart acks are numbered on from the last.",
        (
            Edit(
                RESYNC,
                "broadcast.ackseq = max((ack.ackseq for ack in mine), default=0)",
                "broadcast.ackseq = 0",
            ),
        ),
        ("chain/test_lane_rules.py::test_what_was_acked_is_known_after_a_restart_and_acks_are_numbered_on",),
    ),
    Mutant(
        "own-slots-not-sent-again",
        "A peer that greets us gets those of our slots that it lacks.",
        (
            Edit(
                RESYNC,
                "elif lane.place == me or (lane.place != peer and owner not in linked):",
                "elif lane.place != me and owner not in linked:",
            ),
        ),
        (
            "simulation/test_directed.py::"
            "test_what_was_said_while_a_link_was_down_goes_out_after_the_member_caught_up",
        ),
    ),
    Mutant(
        "own-acks-not-sent-again",
        "A peer that greets us gets our acks.",
        (
            Edit(
                RESYNC,
                "if acker == me or (acker != peer and",
                "if acker != me and (acker != peer and",
            ),
        ),
        (SCHEDULES + "test_acks_and_votes_that_were_lost_with_a_link_come_again_with_the_next",),
    ),
    Mutant(
        "own-votes-not-sent-again",
        "A peer at our height that greets us gets our votes.",
        (Edit(ORDERING := "chain/ordering.py", "return [*self.own.all, *others]", "return others"),),
        (SCHEDULES + "test_acks_and_votes_that_were_lost_with_a_link_come_again_with_the_next",),
    ),
    Mutant(
        "signs-before-it-is-confirmed",
        "After a restart nothing new is signed before the journal was found whole.",
        (
            Edit(
                STATE,
                "not (self.me is None or self.recovering or self.journal_lost or self.forked)",
                "not (self.me is None or self.journal_lost or self.forked)",
            ),
        ),
        (ROLLED_BACK,),
    ),
    Mutant(
        "confirmed-by-one-too-few",
        "A quorum, the restarted member among it, has to find its journal whole.",
        (
            Edit(
                STATE,
                "others_needed = self.tip.committee.quorum - 1",
                "others_needed = self.tip.committee.quorum - 2",
            ),
        ),
        (SCHEDULES + "test_a_restarted_member_signs_once_so_many_confirm_that_a_quorum_would_share_one",),
    ),
    Mutant(
        "any-hello-confirms",
        "A HELLO confirms a journal only if it claims nothing of ours that the journal lacks.",
        (
            Edit(
                GREETING,
                "if hello.mine is not None and self._covers(hello.yours, on_path=on_path):",
                "if hello.mine is not None:",
            ),
        ),
        (SCHEDULES + "test_who_claims_to_hold_more_than_the_journal_does_not_confirm_it",),
    ),
    Mutant(
        "own-signature-that-comes-back-ignored",
        "A vote or ack of ours that our journal lacks stops the key for good.",
        (
            Edit(
                GREETING,
                "        if not known and state.epoch.signature_holds(message):",
                "        if known and not known:",
            ),
        ),
        ("simulation/test_liars.py::test_a_journal_that_lost_its_last_precommit_is_noticed_by_who_holds_it",),
    ),
    Mutant(
        "own-slot-that-comes-back-ignored",
        "A slot of ours that our journal lacks stops the key for good.",
        (
            Edit(
                GREETING,
                '        state.lose_journal(f"slot {slot.seq} of epoch {slot.epoch}")\n',
                "",
            ),
        ),
        (SCHEDULES + "test_a_slot_of_its_own_that_a_member_does_not_know_stops_its_key",),
    ),
    Mutant(
        "lost-journal-forgotten-by-a-restart",
        "A key that stopped stays stopped after a restart.",
        (Edit(STATE, 'self.journal_lost = f"lost:{mine}" in kept', "self.journal_lost = False"),),
        (SCHEDULES + "test_a_key_that_stopped_does_not_start_again_with_the_node",),
    ),
    Mutant(
        "fork-forgotten-by-a-restart",
        "A fork that was seen is not forgotten.",
        (Edit(STATE, 'self.forked = f"fork:{mine}" in kept', "self.forked = False"),),
        (SCHEDULES + "test_a_fork_that_was_seen_is_known_after_a_restart_alone",),
    ),
    Mutant(
        "fork-ignored",
        "Who is shown a second certified block of one height keeps it and signs nothing more.",
        (
            Edit(
                REPLICA,
                "                self.state.stop_for_fork(block.height, proof=message)\n",
                "                pass\n",
            ),
        ),
        (
            "simulation/test_liars.py::"
            "test_who_is_shown_a_second_certified_block_keeps_it_and_signs_nothing_more[False]",
        ),
    ),
    Mutant(
        "what-was-said-not-persisted",
        "What a user was told is pending is on disk.",
        (
            Edit(
                BACKLOG,
                "                self._out.keep(Enqueue(body))\n        self._unsaved",
                "                pass\n        self._unsaved",
            ),
        ),
        (SCHEDULES + "test_what_waits_for_a_slot_survives_a_crash",),
    ),
    Mutant(
        "early-messages-forgotten",
        "What came for the next height is looked at again once we are there.",
        (
            Edit(
                REPLICA,
                "        for peer, message in self._intake.due():\n",
                "        for peer, message in self._intake.due()[:0]:\n",
            ),
        ),
        (SCHEDULES + "test_a_vote_for_the_next_height_counts_once_that_height_is_reached",),
    ),
    Mutant(
        "void-forgets-a-slot",
        "Own slots above the cut that ended an epoch go back into the queue, every one.",
        (
            Edit(
                REPLICA,
                "self._backlog.take_back(state.own_in_slots())",
                "self._backlog.take_back(state.own_in_slots()[1:])",
            ),
        ),
        ("simulation/test_growth.py::test_what_is_said_while_a_room_grows_is_ordered_once",),
    ),
    Mutant(
        "ordered-slots-issued-again",
        "Only slots that were not ordered go back into the queue.",
        (Edit(REPLICA, "        state.broadcast.advance(commit.extension.block.cut)\n", ""),),
        ("simulation/test_growth.py::test_what_is_said_while_a_room_grows_is_ordered_once",),
    ),
    Mutant(
        "void-not-persisted",
        "Void slots are queued in the transaction that ends their epoch.",
        (
            Edit(
                BACKLOG,
                "            self._out.keep(Enqueue(body, front=True))\n",
                "            del body\n",
            ),
        ),
        (SCHEDULES + "test_what_an_epochs_end_left_unordered_survives_a_crash_right_after_it",),
    ),
    Mutant(
        "old-epoch-votes-counted",
        "A vote or ack of an earlier epoch counts for nothing.",
        (
            Edit(
                INTAKE,
                "if message.epoch < tip.epoch or height <= tip.height:",
                "if height <= tip.height:",
            ),
        ),
        (SCHEDULES + "test_votes_and_acks_of_an_earlier_epoch_count_for_nothing",),
    ),
    Mutant(
        "old-epoch-slots-taken",
        "A slot of an earlier epoch is dropped.",
        (
            Edit(
                INTAKE,
                "        if slot.epoch < state.tip.epoch:\n            return\n"
                "        if slot.lane == state.me",
                "        if slot.lane == state.me",
            ),
        ),
        (SCHEDULES + "test_a_slot_of_an_earlier_epoch_is_dropped",),
    ),
    Mutant(
        "observers-counted",
        "Who holds no vote key of this epoch observes: its receipts and votes count"
        " nowhere, not even locally.",
        (
            Edit(
                STATE,
                "or committee.members[place].vote_key != self._key.public:",
                "or not committee.members[place].vote_key:",
            ),
        ),
        (SCHEDULES + "test_a_member_without_the_epochs_vote_key_signs_nothing_and_counts_for_nothing",),
    ),
    Mutant(
        "observer-confirms-a-journal",
        "Who observes vouches for nobody's journal.",
        (
            Edit(
                GREETING,
                "if hello.mine is not None and self._covers(hello.yours, on_path=on_path):",
                "if self._covers(hello.yours, on_path=on_path):",
            ),
        ),
        ("simulation/test_membership_rekey.py::test_who_observes_confirms_nobodys_journal",),
    ),
    Mutant(
        "removed-member-hears-more",
        "A removed member is shown the block that removed it, and nothing later.",
        (
            Edit(
                GREETING,
                "        if gone is not None:\n            state.out.to(",
                "        if gone is None and gone:\n            state.out.to(",
            ),
            Edit(
                ANSWERS,
                "self._state.out.tell(Serve(peer, height, last))",
                "self._state.out.tell(Serve(peer, height, last + 10**6))",
            ),
            Edit(ANSWERS, "if 1 <= height <= last:", "if height >= last - last:"),
        ),
        (
            "simulation/test_membership_removal.py::"
            "test_who_was_away_when_it_was_removed_is_shown_the_block_that_did_it_and_nothing_later",
        ),
    ),
    Mutant(
        "former-quorum-makes-a-fork",
        "A former quorum's block of another epoch stops nobody who was there.",
        (
            Edit(
                STATE,
                "(block.epoch, block.height) != (last.block.epoch, last.block.height)",
                "block.height != last.block.height",
            ),
        ),
        ("simulation/test_membership_former.py::test_a_founder_that_rewrites_the_past_stops_nobody",),
    ),
    Mutant(
        "early-messages-without-bound",
        "What comes too early is kept up to so many bytes for each peer.",
        (
            Edit(
                "chain/early.py",
                "if total <= (BYTES_PER_MEMBER if is_member else BYTES_PER_STRANGER):",
                "if total <= 10**9:",
            ),
        ),
        ("simulation/test_liars_bounds.py::test_what_comes_early_is_kept_up_to_so_many_bytes",),
    ),
    Mutant(
        "claims-believed-for-ever",
        "Who claims blocks and shows none is asked three times, and then no more.",
        (
            Edit(
                "chain/fetch.py",
                "(claim.failures < TRIES or (height <= self._certain and now >= claim.rests_until))",
                "True",
            ),
        ),
        ("chain/test_fetch.py::test_who_says_nothing_gives_way_and_is_asked_three_times_at_most",),
    ),
    Mutant(
        "a-trickle-is-patience-enough",
        "Who brings what is wanted in a trickle gives way to others.",
        (
            Edit(
                "chain/fetch.py",
                "asked.deadline = min(latest, asked.deadline + size / LEAST_RATE)",
                "asked.deadline = latest",
            ),
        ),
        (
            "simulation/test_liars_catch_up.py::test_a_liar_that_trickles_what_is_wanted_holds_up_nobody_who_catches_up",
        ),
    ),
    Mutant(
        "hole-in-an-answer-waited-for",
        "An answer with a hole in its midst is given up at once.",
        (
            Edit(
                "chain/fetch.py",
                "            elif (asked.last or 0) > height or now >= asked.deadline:\n",
                "            elif now >= asked.deadline:\n",
            ),
        ),
        ("chain/test_fetch.py::test_an_answer_with_a_hole_in_its_midst_is_given_up_at_once",),
    ),
)
