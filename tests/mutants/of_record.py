"""Mutants of the record: blocks, certificates, the Merkle log, the walk of a newcomer, what is on disk."""

from tests.mutants.mutation import Edit, Mutant

BLOCK = "chain/block.py"
LEDGER = "chain/ledger.py"
MERKLE = "chain/merkle.py"
CHECK = "chain/store_check.py"
OF_LEDGER = "chain/test_ledger.py::"
OF_BLOCK = "chain/test_block.py::"
OF_MERKLE = "chain/test_merkle.py::"
WALK = "chain/walk.py"
OF_WALK = "chain/test_walk.py::"
FORGED = OF_WALK + ("test_whatever_is_forged_or_left_out_is_refused_and_the_walk_goes_on_from_where_it_was")
DAMAGE = "chain/test_store_damage.py::"

MUTANTS = (
    Mutant(
        "certificate-of-one-too-few-accepted",
        "A certificate holds a quorum's signatures.",
        (
            Edit(
                BLOCK,
                "if places != sorted(set(places)) or len(places) < committee.quorum:",
                "if places != sorted(set(places)) or len(places) < committee.quorum - 1:",
            ),
        ),
        (OF_BLOCK + "test_too_few_signers_twice_the_same_or_out_of_order_make_no_certificate",),
    ),
    Mutant(
        "certificate-of-one-signer-accepted",
        "A certificate counts distinct signers.",
        (
            Edit(
                BLOCK,
                "if places != sorted(set(places)) or len(places) < committee.quorum:",
                "if len(places) < committee.quorum:",
            ),
        ),
        (OF_BLOCK + "test_too_few_signers_twice_the_same_or_out_of_order_make_no_certificate",),
    ),
    Mutant(
        "certificate-of-another-block-accepted",
        "The signatures of a certificate are under the block's own checkpoint.",
        (
            Edit(
                BLOCK,
                'f"pigeon/v1 {epoch} {height} {round_} {base64.b64encode(block).decode()}\\n"',
                'f"pigeon/v1 {epoch} {height} {round_} {base64.b64encode(block[:0]).decode()}\\n"',
            ),
        ),
        (OF_BLOCK + "test_a_certificate_says_nothing_of_another_block",),
    ),
    Mutant(
        "leaves-in-another-order",
        "In a slot's leaves control items come before bodies.",
        (
            Edit(
                BLOCK,
                "contents: tuple[Hash | Control, ...] = (*slot.control, *slot.commitments)",
                "contents: tuple[Hash | Control, ...] = (*slot.commitments, *slot.control)",
            ),
        ),
        (OF_BLOCK + "test_a_slots_items_are_its_control_entries_then_its_bodies",),
    ),
    Mutant(
        "order-ignores-deps",
        "In the log a slot stands after all that it depends on.",
        (
            Edit(
                "chain/linearize.py",
                "while chain and all(dep.seq <= emitted[dep.lane] for dep in chain[-1][1].deps):",
                "while chain:",
            ),
        ),
        ("chain/test_linearize.py::test_lanes_come_in_member_order_each_as_far_as_it_can",),
    ),
    Mutant(
        "leader-does-not-stick",
        "Who led the last block leads the next.",
        (
            Edit(
                LEDGER,
                "following = [place for place, identity in enumerate(identities) if identity >= self.leader]",
                "following = [place for place, identity in enumerate(identities)]",
            ),
        ),
        (OF_LEDGER + "test_the_leader_stays_while_it_is_a_member_and_others_follow_in_turn",),
    ),
    Mutant(
        "final-followed-without-a-certificate",
        "A light client follows an epoch-final block only with a quorum's signatures.",
        (Edit(WALK, "        if not certificate_holds(\n", "        if False and not certificate_holds(\n"),),
        (FORGED,),
    ),
    Mutant(
        "final-of-another-epoch-followed",
        "A light client follows an epoch-final block only from the epoch that it ends.",
        (
            Edit(WALK, "            final.epoch != self.epoch\n            or ", "            "),
            Edit(
                WALK, "            final.committee != self.committee.digest\n            or ", "            "
            ),
        ),
        (FORGED,),
    ),
    Mutant(
        "anchor-not-checked",
        "A walk that gets past its anchor comes through the anchor's block.",
        (Edit(WALK, "if (height, block) != (anchor.height, anchor.block):", "if height < anchor.height:"),),
        (OF_WALK + "test_a_founder_can_rewrite_all_that_followed_and_only_an_anchor_shows_it",),
    ),
    Mutant(
        "frontier-not-checked",
        "The Merkle frontier that a newcomer is handed leads to the final block's root.",
        (
            Edit(
                LEDGER,
                "if not frontier.is_well_formed() or frontier.size != block.log_size or"
                " frontier.root() != block.log_root:",
                "if not frontier.is_well_formed():",
            ),
        ),
        (OF_LEDGER + "test_a_state_that_the_final_block_does_not_vouch_for_is_refused",),
    ),
    Mutant(
        "spent-keys-not-checked",
        "The list of spent keys that a newcomer is handed hashes to what the committee names.",
        (Edit(LEDGER, "if spent_digest(spent) != committee.spent:", "if False:"),),
        (OF_LEDGER + "test_a_state_that_the_final_block_does_not_vouch_for_is_refused",),
    ),
    Mutant(
        "ballot-outlives-its-epoch",
        "Motions and approvals lapse with their epoch.",
        (Edit(LEDGER, "ballot=Ballot() if final else ballot,", "ballot=ballot,"),),
        (OF_LEDGER + "test_a_newcomer_reaches_the_state_by_final_blocks_alone",),
    ),
    Mutant(
        "leaf-hashed-as-a-node",
        "A leaf never passes for an inner node of the tree.",
        (
            Edit(MERKLE, 'hashlib.sha256(b"\\x00" + data)', "hashlib.sha256(data)"),
            Edit(MERKLE, 'hashlib.sha256(b"\\x01" + left + right)', "hashlib.sha256(left + right)"),
        ),
        (OF_MERKLE + "test_a_leaf_never_passes_for_a_node", OF_MERKLE + "test_the_shared_roots_come_out"),
    ),
    Mutant(
        "inclusion-beyond-the-end",
        "An inclusion proof is for an index within the log.",
        (
            Edit(
                MERKLE,
                "    if not 0 <= index < size:\n        return False\n    fn, sn, node",
                "    fn, sn, node",
            ),
        ),
        (OF_MERKLE + "test_every_leaf_is_proven_at_its_place_and_no_other",),
    ),
    Mutant(
        "inclusion-path-too-short-accepted",
        "An inclusion path leads all the way up.",
        (Edit(MERKLE, "    return sn == 0 and node == root\n", "    return node == root\n"),),
        (OF_MERKLE + "test_every_leaf_is_proven_at_its_place_and_no_other",),
    ),
    Mutant(
        "rewritten-past-accepted",
        "A consistency proof leads to the old root as well as to the new one.",
        (
            Edit(
                MERKLE,
                "return sn == 0 and old == old_root and new == root",
                "return sn == 0 and new == root",
            ),
        ),
        (OF_MERKLE + "test_a_rewritten_past_has_no_proof",),
    ),
    Mutant(
        "round-not-signed",
        "A precommit's signature covers its round.",
        (
            Edit(
                BLOCK,
                'f"pigeon/v1 {epoch} {height} {round_} {base64.b64encode(block).decode()}\\n"',
                'f"pigeon/v1 {epoch} {height} 0 {base64.b64encode(block).decode()}\\n"',
            ),
        ),
        (OF_BLOCK + "test_a_certificate_of_another_round_is_another_text",),
    ),
    Mutant(
        "room-not-signed",
        "Every signature and hash covers the room.",
        (
            Edit(
                "chain/crypto.py",
                'b"/v1\\0" + room + epoch.to_bytes(8, "big") + payload',
                'b"/v1\\0" + bytes(len(room)) + epoch.to_bytes(8, "big") + payload',
            ),
        ),
        (OF_BLOCK + "test_a_commitment_binds_room_author_salt_and_words",),
    ),
    # On disk
    Mutant(
        "checksum-not-checked",
        "A row that does not match its checksum is damage.",
        (Edit("chain/store_rows.py", "if row[-1] != self.seal(table, row[:-1]):", "if len(row) < 2:"),),
        (DAMAGE + "test_a_flipped_byte_outside_the_blocks_names_the_table",),
    ),
    Mutant(
        "slot-hash-not-checked",
        "A stored slot hashes to its id.",
        (
            Edit(
                "chain/store_rows.py",
                "if slot.id(self.room) != slot_id or (slot.epoch, slot.lane, slot.seq)"
                " != (epoch, lane, seq):",
                "if (slot.epoch, slot.lane, slot.seq) != (epoch, lane, seq):",
            ),
        ),
        (DAMAGE + "test_a_slot_rewritten_with_its_checksum_does_not_hash_to_its_id",),
    ),
    Mutant(
        "stored-block-not-derived",
        "A stored block follows from its slots and the block before.",
        (
            Edit(
                "chain/store_replay.py",
                "if derived.block != row.block or derived.tip.block != row.id:",
                "if derived.tip.block == row.id and False:",
            ),
        ),
        (
            DAMAGE + "test_a_block_rewritten_with_its_id_does_not_follow_from_its_slots",
            DAMAGE + "test_an_item_rewritten_with_its_checksum_is_found_by_the_log_root",
        ),
    ),
    Mutant(
        "stored-body-not-hashed",
        "A stored body matches the commitment it is kept under.",
        (
            Edit(
                "chain/store_replay.py",
                "if row.body is not None and row.body.commitment(room=rows.room,"
                " author=author) != commitment:",
                "if row.body is not None and not commitment:",
            ),
        ),
        ("chain/test_store_rules.py::test_a_body_rewritten_with_its_checksum_does_not_match_its_commitment",),
    ),
    Mutant(
        "stored-certificate-not-checked",
        "`check` verifies each block's certificate.",
        (
            Edit(
                CHECK,
                "if committee is not None and not certificate_holds(",
                "if committee is None and not certificate_holds(",
            ),
        ),
        (DAMAGE + "test_a_certificate_by_too_few_or_by_others_is_found_by_its_signatures",),
    ),
    Mutant(
        "stored-slot-signature-not-checked",
        "`check` verifies each slot's signature, which no hash covers.",
        (
            Edit(
                CHECK,
                "if not self._verify(owner.vote_key, slot.preimage(self._rows.room), slot.signature):",
                "if not owner.vote_key:",
            ),
        ),
        (DAMAGE + "test_a_slots_signature_is_checked_though_its_id_does_not_cover_it",),
    ),
    Mutant(
        "other-encodings-accepted",
        "A value has one encoding, and no other decodes.",
        (Edit("chain/codec.py", "    if again != data:\n", "    if again != data and not again:\n"),),
        ("chain/test_codec.py::test_only_the_canonical_form_decodes",),
    ),
    Mutant(
        "size-not-looked-at",
        "The size of what comes is looked at before it is read.",
        (Edit("chain/codec.py", "    if len(data) > limit:\n", "    if len(data) > limit > 10**9:\n"),),
        ("chain/test_codec.py::test_the_size_is_looked_at_first",),
    ),
    Mutant(
        "mark-not-read",
        "A database that lost its last transactions is found out by the mark beside it.",
        (
            Edit(
                "chain/store_file.py",
                "(mark.seen(rows.room) if mark else 0) - number)",
                "(number if mark else 0) - number)",
            ),
        ),
        (
            "chain/test_store_file.py::"
            "test_a_database_that_lost_its_last_transactions_is_rolled_back_for_good",
        ),
    ),
)
