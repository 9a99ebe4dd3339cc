"""Mutants of the lanes: what is held, acked, counted, delivered, and shown to everybody."""

from tests.mutants.mutation import Edit, Mutant

BROADCAST = "chain/broadcast.py"
LANE = "chain/lane.py"
ALONE = "chain/test_broadcast.py::"
LANES = "chain/test_lane_rules.py::"
CERTIFIED = "chain/certified.py"
SHOWN = "chain/test_slot_certificates.py::"

MUTANTS = (
    Mutant(
        "ack-both-branches",
        "Of two slots at one place a member acks the first it saw, and none of that lane from then on.",
        (
            Edit(
                BROADCAST,
                "        if first_id != slot_id:\n            self._caught(lane, first, slot)\n",
                "        if first_id != slot_id and not first:\n"
                "            self._caught(lane, first, slot)\n",
            ),
            Edit(
                BROADCAST,
                "        if lane.extends(slot):\n            lane.path.append(kept.id)\n",
                "        if slot.seq <= lane.head.seq + 1:\n"
                "            lane.path[slot.seq - lane.base.seq - 1 :] = [kept.id]\n"
                "            lane.acked_seq = min(lane.acked_seq, slot.seq - 1)\n",
            ),
        ),
        (LANES + "test_of_two_branches_a_member_acks_the_one_that_it_saw_first",),
    ),
    Mutant(
        "acks-not-persisted",
        "An ack is journalled before it is sent.",
        (
            Edit(
                BROADCAST,
                '            self.epoch.out.keep(Journal(f"ack:{lane.place}", encode(ack)))\n',
                "",
            ),
        ),
        (LANES + "test_what_was_acked_is_known_after_a_restart_and_acks_are_numbered_on",),
    ),
    Mutant(
        "slots-not-persisted",
        "A slot is on disk before it is sent, acked or shown.",
        (Edit(BROADCAST, "        self.epoch.out.keep(kept)\n", ""),),
        seeds=range(8),
    ),
    Mutant(
        "ack-quorum-minus-1",
        "A slot is certified by a quorum, its owner among them.",
        (
            Edit(
                BROADCAST,
                "return self.support(head, place) >= self.epoch.committee.quorum",
                "return self.support(head, place) >= self.epoch.committee.quorum - 1",
            ),
        ),
        (ALONE + "test_a_slot_waits_for_what_it_depends_on",),
    ),
    Mutant(
        "no-certificate-flooding",
        "What was certified on a frozen lane is shown to everybody, with the acks that certify it.",
        (
            Edit(
                BROADCAST,
                "        for message in self.certified_slots(lane):\n"
                "            self.epoch.out.to_all(message)\n",
                "",
            ),
        ),
        (ALONE + "test_totality_a_certificate_that_only_one_member_saw_reaches_all",),
    ),
    Mutant(
        "flooding-not-repeated-on-hello",
        "What was certified on a frozen lane is shown again to whoever greets us.",
        (
            Edit(
                "chain/resync.py",
                "            yield Accusation(lane.frozen)\n"
                "            yield from broadcast.certified_slots(lane)\n",
                "            yield Accusation(lane.frozen)\n",
            ),
        ),
        (ALONE + "test_totality_holds_for_a_member_that_was_cut_off_while_the_certificate_went_round",),
    ),
    Mutant(
        "flooded-acks-not-persisted",
        "The acks that certify a frozen lane are journalled with its delivery.",
        (
            Edit(
                BROADCAST,
                '        self.epoch.out.keep(Journal(f"cert:{lane.place}", encode(shown)))\n',
                "        del shown\n",
            ),
        ),
        (ALONE + "test_totality_survives_a_restart_of_the_only_member_that_saw_the_certificate",),
    ),
    Mutant(
        "certifying-ack-given-up",
        "An ack that certifies what is delivered is not given up for its signer's later ones.",
        (Edit(LANE, "        if self.delivered == self.base:\n", "        if self.delivered:\n"),),
        (SHOWN + "test_what_was_delivered_before_the_lane_forked_can_be_shown_whatever_an_acker_acks_later",),
    ),
    Mutant(
        "delivered-not-certified-for-good",
        "What was delivered stays certified, whatever is remembered of why.",
        (
            Edit(
                BROADCAST,
                "        if head.id in self.delivered_at:\n            return True\n",
                "",
            ),
        ),
        (SHOWN + "test_what_was_delivered_stays_certified_while_slots_of_a_higher_certificate_are_missing",),
    ),
    Mutant(
        "certificate-as-single-acks",
        "A certificate counts as a whole, also where there is no room for one of its acks.",
        (
            Edit(
                LANE,
                "            found.update(ack.signer for ack in self.certificate.acks)\n",
                "            pass\n",
            ),
        ),
        (SHOWN + "test_totality_a_certificate_counts_where_its_ackers_other_heads_came_first",),
    ),
    Mutant(
        "certificate-of-too-few",
        "A slot's certificate takes a quorum.",
        (
            Edit(
                CERTIFIED,
                "if 1 + len(signers) < epoch.committee.quorum:",
                "if 2 + len(signers) < epoch.committee.quorum:",
            ),
        ),
        (SHOWN + "test_what_is_almost_a_certificate_convinces_nobody",),
    ),
    Mutant(
        "certificate-signatures-not-checked",
        "In a slot's certificate every ack is signed by its signer.",
        (
            Edit(
                CERTIFIED,
                "_leads_to(message, ack, chain) and epoch.signature_holds(ack)",
                "_leads_to(message, ack, chain)",
            ),
        ),
        (SHOWN + "test_what_is_almost_a_certificate_convinces_nobody",),
    ),
    Mutant(
        "certificate-chain-not-checked",
        "An ack of a later slot certifies an earlier one only by the slots that lead there.",
        (
            Edit(
                CERTIFIED,
                "return acked.seq >= message.head.seq and slot_id == message.head.id",
                "return acked.seq >= message.head.seq",
            ),
        ),
        (SHOWN + "test_what_is_almost_a_certificate_convinces_nobody",),
    ),
    Mutant(
        "frozen-lane-still-acked",
        "No slot of a frozen lane is acked any more.",
        (
            Edit(
                LANE,
                "return self.frozen is None and slot.seq == head.seq + 1 and slot.prev == head.id",
                "return slot.seq == head.seq + 1 and slot.prev == head.id",
            ),
            Edit(
                BROADCAST,
                "if lane.place != me and lane.frozen is None and lane.head.seq",
                "if lane.place != me and lane.head.seq",
            ),
        ),
        (ALONE + "test_a_frozen_lane_is_never_acked_again",),
    ),
    Mutant(
        "deps-not-checked",
        "A slot whose dependencies are not held, or are not what it says, is neither held nor acked.",
        (
            Edit(
                BROADCAST,
                "        refers += [(dep.lane, Head(dep.seq, dep.id)) for dep in slot.deps]\n",
                "",
            ),
        ),
        (
            LANES + "test_a_slot_that_names_another_place_than_its_dependency_has_is_not_held",
            LANES + "test_a_slot_is_not_acked_before_its_dependencies_are_held",
        ),
    ),
    Mutant(
        "dep-position-not-compared",
        "A dependency stands at the lane and place that the slot says, or the slot is refused.",
        (
            Edit(
                BROADCAST,
                "            elif held.slot.position != (place, head.seq):\n                return None\n",
                "",
            ),
        ),
        (LANES + "test_a_slot_that_names_another_place_than_its_dependency_has_is_not_held",),
    ),
    Mutant(
        "malformed-deps-accepted",
        "Dependencies ascend by lane, one each, never on the slot's own lane.",
        (
            Edit(
                BROADCAST,
                "if lanes != sorted(set(lanes)) or slot.lane in lanes or any(d >= len(self.lanes)"
                " for d in lanes):",
                "if any(d >= len(self.lanes) for d in lanes):",
            ),
        ),
        (LANES + "test_dependencies_out_of_order_twice_or_on_its_own_lane_are_refused",),
    ),
    Mutant(
        "delivered-before-its-deps",
        "A slot is delivered after everything that it depends on.",
        (
            Edit(
                BROADCAST,
                "                and all(self._is_past(dep) for dep in kept.slot.deps)\n",
                "",
            ),
        ),
        (ALONE + "test_a_slot_waits_for_what_it_depends_on",),
    ),
    Mutant(
        "slot-signature-not-checked",
        "A slot is held only if its lane's owner signed it.",
        (
            Edit(
                BROADCAST,
                "        if not self.epoch.owner_signed(slot):\n"
                '            out.fault(peer, FaultKind.WRONG_SIGNATURE, "a slot")\n'
                "            return False\n",
                "",
            ),
        ),
        (ALONE + "test_integrity_only_what_its_owner_signed_is_held",),
    ),
    Mutant(
        "bodies-not-checked",
        "A slot is held only with the very bodies that it commits to.",
        (
            Edit(
                BROADCAST,
                'return None if made == list(slot.commitments) else "a body that its slot does not'
                ' commit to"',
                "return None if made else None",
            ),
        ),
        (ALONE + "test_integrity_only_what_its_owner_signed_is_held",),
    ),
    Mutant(
        "window-not-enforced",
        "Nobody holds more than two windows of a lane above the cut.",
        (
            Edit(
                LANE,
                "return self.base.seq < seq <= self.base.seq + 2 * WINDOW",
                "return self.base.seq < seq",
            ),
        ),
        (LANES + "test_a_slot_beyond_two_windows_is_neither_held_nor_parked",),
    ),
    Mutant(
        "own-window-not-kept",
        "An author keeps at most one window of its slots above the cut.",
        (Edit(BROADCAST, "and len(self.own.path) < WINDOW", ""),),
        (LANES + "test_an_author_stops_at_a_whole_window_until_the_cut_moves",),
    ),
    Mutant(
        "parked-without-bound",
        "Slots that wait for their predecessors are bounded for each owner.",
        (
            Edit(
                "chain/parking.py",
                "if self._bytes.get(owner, 0) + size > PARKED_BYTES_PER_OWNER:",
                "if size > PARKED_BYTES_PER_OWNER:",
            ),
        ),
        (LANES + "test_what_waits_for_its_predecessors_is_bounded_for_each_owner",),
    ),
    Mutant(
        "losing-branch-held-unasked",
        "A second slot for one place is held only where an ack, a cut or a dependency names it.",
        (
            Edit(
                BROADCAST,
                "if not (lane.is_named(slot_id) or self._parking.waits_for(slot_id)):",
                "if not slot_id:",
            ),
        ),
        (LANES + "test_of_many_slots_for_one_place_only_the_first_is_held_unless_one_is_named",),
    ),
    Mutant(
        "ack-signature-not-checked",
        "An ack counts only if its signer signed it.",
        (Edit(BROADCAST, "if ack != last and not self.epoch.signature_holds(ack):", "if False:"),),
        (LANES + "test_an_ack_that_its_signer_did_not_sign_counts_for_nothing",),
    ),
    Mutant(
        "owners-ack-counted",
        "An author's signature is its own ack; it counts once.",
        (
            Edit(BROADCAST, "            or ack.signer in places\n", ""),
            Edit(
                LANE,
                "if acker != self.place and self.descends(acked, head, slots):",
                "if self.descends(acked, head, slots):",
            ),
        ),
        (LANES + "test_an_owner_that_acks_its_own_lane_counts_once",),
    ),
    Mutant(
        "ack-of-another-branch-counted",
        "An ack supports a slot only if its head is that slot or descends from it.",
        (
            Edit(
                LANE,
                "if acker != self.place and self.descends(acked, head, slots):",
                "if acker != self.place and acked.seq >= head.seq:",
            ),
        ),
        (ALONE + "test_consistency_of_two_slots_for_one_place_at_most_one_is_delivered",),
    ),
    Mutant(
        "prevotes-counted-as-acks",
        "Only acks certify a slot: they can be shown to whoever lacks it, prevotes for a cut cannot.",
        (
            Edit(
                BROADCAST,
                "        return 1 + len(self.lanes[place].supporters(head, self.slots))\n",
                "        lane, seen = self.lanes[place], self.__dict__.get('prevoted', [])\n"
                "        voters = {by for by, cut in seen if lane.descends(cut[place], head, self.slots)}\n"
                "        return 1 + len(voters.union(lane.supporters(head, self.slots)) - {place})\n",
            ),
            Edit(
                "chain/ordering.py",
                "        news = self.box.add(vote, peer=peer)\n",
                "        news = self.box.add(vote, peer=peer)\n"
                "        if news and isinstance(vote, Prevote) and vote.block in self._blocks:\n"
                "            seen = self.broadcast.__dict__.setdefault('prevoted', [])\n"
                "            seen.append((vote.signer, self._blocks[vote.block].cut))\n",
            ),
        ),
        ("simulation/test_mutant_schedules.py::test_what_is_delivered_can_be_shown_by_a_quorum_of_acks",),
    ),
    Mutant(
        "pull-not-asked-again",
        "What was asked over a link that broke is asked again over the next.",
        (Edit(BROADCAST, "            asked.discard(peer)\n", "            del asked\n"),),
        (ALONE + "test_what_was_asked_over_a_link_that_broke_is_asked_again_over_the_next",),
    ),
    Mutant(
        "acked-heads-without-bound",
        "Of each acker only so many heads of a lane are remembered.",
        (Edit(LANE, "if len(heads) >= HEADS_PER_ACKER:", "if len(heads) >= 10**6:"),),
        (LANES + "test_of_what_one_member_acks_in_a_lane_so_many_heads_are_remembered",),
    ),
    Mutant(
        "certified-branch-not-recognised",
        "A second slot for its place is taken in once one that follows it shows that a block orders it.",
        (
            Edit(
                BROADCAST,
                "                        if named := self._doubtful.release(head.id):\n",
                "                        if named := self._doubtful.release(slot.id):\n",
            ),
        ),
        (
            "simulation/test_liars_serving.py::"
            "test_a_branch_that_only_the_victim_was_shown_does_not_keep_it_from_the_certified_one",
        ),
    ),
)
