"""Mutants of evidence: what convicts a key, by whose committee, and what a conviction leads to."""

from tests.mutants.mutation import Edit, Mutant

EVIDENCE = "chain/evidence.py"
COURT = "chain/court.py"
RULES = "chain/test_evidence_rules.py::"
GUILTY = RULES + "test_whoever_signed_what_contradicts_itself_is_convicted"
INNOCENT = RULES + "test_nobody_is_convicted_of_what_only_looks_like_it"
SCHEDULES = "simulation/test_mutant_schedules_evidence.py::"

MUTANTS = (
    Mutant(
        "evidence-of-unsigned-votes",
        "Evidence holds only what the accused signed.",
        (
            Edit(
                EVIDENCE,
                "return vote.signer == place and verify(member.vote_key,"
                " vote.preimage(room), vote.signature)",
                "return vote.signer == place",
            ),
        ),
        (INNOCENT,),
    ),
    Mutant(
        "evidence-of-two-members",
        "Evidence holds things that one member signed, not two.",
        (
            Edit(
                EVIDENCE,
                "return vote.signer == place and verify(member.vote_key,"
                " vote.preimage(room), vote.signature)",
                "key = committee.members[vote.signer].vote_key\n"
                "        return verify(key, vote.preimage(room), vote.signature)",
            ),
        ),
        (INNOCENT,),
    ),
    Mutant(
        "evidence-of-unsigned-slots",
        "Two slots are evidence only if the lane's owner signed both.",
        (
            Edit(
                EVIDENCE,
                "shown = _same_place(first.stub, second.stub) and all(\n                verify(",
                "shown = _same_place(first.stub, second.stub) and all(\n                True or verify(",
            ),
        ),
        (INNOCENT,),
    ),
    Mutant(
        "places-of-slots-not-compared",
        "Two slots are evidence only if they stand at one place.",
        (
            Edit(
                EVIDENCE,
                "return (one.epoch, one.lane, one.seq) == (other.epoch, other.lane, other.seq)"
                " and one != other",
                "return one != other",
            ),
        ),
        (INNOCENT,),
    ),
    Mutant(
        "one-slot-twice-is-evidence",
        "One slot is not evidence, however often it is shown.",
        (
            Edit(
                EVIDENCE,
                "== (other.epoch, other.lane, other.seq) and one != other",
                "== (other.epoch, other.lane, other.seq)",
            ),
        ),
        (INNOCENT,),
    ),
    Mutant(
        "numbers-of-acks-not-compared",
        "Two acks are evidence only if they have one number.",
        (
            Edit(
                EVIDENCE, "(one.epoch, one.ackseq) == (other.epoch, other.ackseq)", "one.epoch == other.epoch"
            ),
        ),
        (INNOCENT,),
    ),
    Mutant(
        "branches-not-compared",
        "Acks of two heads are evidence only if neither follows the other.",
        (Edit(EVIDENCE, "    return below != low.id\n", "    return below != high.seq\n"),),
        (INNOCENT,),
    ),
    Mutant(
        "chain-not-hashed",
        "What leads from one acked head to the other is linked by hashes.",
        (Edit(EVIDENCE, "if not named or stub.id(room) != below:", "if not named:"),),
        (INNOCENT,),
    ),
    Mutant(
        "rounds-of-votes-not-compared",
        "Two votes are evidence only if they are of one round.",
        (
            Edit(
                EVIDENCE,
                "(vote.epoch, vote.height, vote.round) == (another.epoch, another.height, another.round)",
                "(vote.epoch, vote.height) == (another.epoch, another.height)",
            ),
        ),
        (INNOCENT,),
    ),
    Mutant(
        "heights-of-votes-not-compared",
        "Two votes are evidence only if they are of one height.",
        (
            Edit(
                EVIDENCE,
                "(vote.epoch, vote.height, vote.round) == (another.epoch, another.height, another.round)",
                "(vote.epoch, vote.round) == (another.epoch, another.round)",
            ),
        ),
        (INNOCENT,),
    ),
    Mutant(
        "kinds-of-votes-not-compared",
        "Two votes are evidence only if they are of one kind.",
        (
            Edit(
                EVIDENCE,
                "                type(vote) is type(another)\n                and ",
                "                ",
            ),
        ),
        (INNOCENT,),
    ),
    Mutant(
        "precommit-taken-back-unnoticed",
        "Who precommitted a block and then asks for a round without its polka took it back.",
        (
            Edit(
                EVIDENCE,
                "return asked.lock is None or (asked.lock[0] <= precommit.round and asked.lock != rested_on)",
                "return asked.lock is not None and asked.lock != rested_on",
            ),
        ),
        (GUILTY,),
    ),
    Mutant(
        "later-polka-is-a-broken-promise",
        "Who names a polka of a later round than its precommit kept its promise.",
        (
            Edit(
                EVIDENCE,
                "(asked.lock[0] <= precommit.round and asked.lock != rested_on)",
                "(asked.lock != rested_on)",
            ),
        ),
        (INNOCENT,),
    ),
    Mutant(
        "promise-of-an-earlier-round-broken",
        "A precommit breaks no round-change for its own round or an earlier one.",
        (Edit(EVIDENCE, "    if asked.round <= precommit.round:\n        return False\n", ""),),
        (INNOCENT,),
    ),
    Mutant(
        "another-justification-is-evidence",
        "A vote is judged by the justification that it names.",
        (
            Edit(
                EVIDENCE,
                "                vote.justification == digest\n                and ",
                "                ",
            ),
        ),
        (INNOCENT,),
    ),
    Mutant(
        "any-justification-allows",
        "A proposal is allowed by a quorum that asked for its round, and by the polka they name.",
        (
            Edit(
                EVIDENCE,
                "    return highest is None or highest[1] == block\n",
                "    return highest is None or bool(block)\n",
            ),
        ),
        (GUILTY,),
    ),
    Mutant(
        "judged-by-todays-committee",
        "Evidence is judged by the committee of the epoch that it is about.",
        (Edit(COURT, "committee = self._committees[epoch]", "committee = self._committees[-1]"),),
        (SCHEDULES + "test_evidence_of_an_earlier_epoch_convicts_who_held_the_place_then",),
    ),
    Mutant(
        "evidence-not-passed-on",
        "What convicts a key is shown to everybody.",
        (Edit(COURT, "            self._out.to_all(Accusation(data))\n", ""),),
        (SCHEDULES + "test_evidence_that_one_member_came_by_convicts_at_all",),
    ),
    Mutant(
        "conviction-not-persisted",
        "A conviction is not forgotten by a restart.",
        (
            Edit(
                COURT,
                "            self._out.keep(KeepEvidence(found.member, found.vote_key, found.kind, data))\n",
                "",
            ),
        ),
        (SCHEDULES + "test_a_convicted_key_stays_muted_after_a_restart",),
    ),
    Mutant(
        "convicted-key-not-muted",
        "The lane of a convicted key is frozen.",
        (
            Edit(
                "chain/state.py",
                "        if member.vote_key in self.court.convicted:\n",
                "        if not self.court:\n",
            ),
        ),
        (SCHEDULES + "test_a_convicted_key_is_muted_whatever_it_was_convicted_of",),
    ),
    Mutant(
        "evidence-against-itself-ignored",
        "A member whose own key is convicted signs nothing more.",
        (
            Edit(
                "chain/state.py",
                '                self.lose_journal(f"{found.kind}, {found.where}, signed with our key")\n',
                "                pass\n",
            ),
        ),
        ("simulation/test_liars.py::test_a_member_shown_two_slots_of_its_own_for_one_place_signs_no_third",),
    ),
    Mutant(
        "words-of-a-case-not-compared",
        "What a file of evidence says in words is what its proof shows.",
        (
            Edit(
                "chain/case.py",
                "if (file.room, file.kind, file.where, file.accused) !=",
                "if (file.room, case.kind, case.where, case.accused) !=",
            ),
        ),
        ("chain/test_case.py::test_what_a_file_says_in_words_has_to_be_what_it_shows",),
    ),
    Mutant(
        "fork-names-nobody",
        "Two certificates of one round name everybody who signed both.",
        (
            Edit(
                COURT,
                "    if first.certificate.round == second.certificate.round:\n",
                "    if first.certificate.round == second.certificate.round + 1:\n",
            ),
        ),
        ("chain/test_evidence.py::test_two_certificates_of_one_round_name_everybody_who_signed_both",),
    ),
)
