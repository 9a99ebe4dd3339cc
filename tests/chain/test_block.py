"""What is hashed and kept: slots and their commitments, certificates and the signed notes they are."""

import base64
import hashlib

import msgspec
import nacl.exceptions
import nacl.signing
import pytest

from chain.block import (
    Body,
    Certificate,
    Slot,
    certificate_holds,
    leaves_of,
    note_key_name,
    signed_note,
)
from chain.control import Approve
from chain.crypto import ed25519_verify
from chain.ids import Signature
from chain.ledger import Tip
from chain.message import UNSIGNED
from chain.records import KeepBlock
from tests.chain.drawing import Room, body, grown_room, seed

ROOM = grown_room(nicks=["bob", "cal", "dee"], blocks=1)
LAST = next(record for record in reversed(ROOM.history) if isinstance(record, KeepBlock))
TIP: Tip = ROOM.tip


def holds(certificate: Certificate) -> bool:
    return certificate_holds(
        certificate, LAST.block, room=ROOM.id, committee=TIP.committee, verify=ed25519_verify
    )


def test_a_slots_id_covers_its_header_and_not_its_signature() -> None:
    room = Room()
    slot = room.say("ann", "one", "two").slot
    assert msgspec.structs.replace(slot, signature=UNSIGNED).id(room.id) == slot.id(room.id)
    changes = {
        "epoch": 1, "lane": 1, "seq": 2, "prev": seed("p"), "claimed_time": 0,
        "control": (Approve(slot.prev, 0),), "commitments": slot.commitments[::-1],
    }  # fmt: skip
    ids = {msgspec.structs.replace(slot, **{name: value}).id(room.id) for name, value in changes.items()}
    ids |= {slot.id(room.id), slot.id(Room("zoe").id)}
    assert len(ids) == len(changes) + 2


def test_a_slots_signature_is_over_something_else_than_its_id() -> None:
    room = Room()
    slot = room.say("ann", "one").slot
    public = room.people["ann"].vote.public
    assert ed25519_verify(public, slot.preimage(room.id), slot.signature)
    assert not ed25519_verify(public, slot.id(room.id), slot.signature)


def test_a_commitment_binds_room_author_salt_and_words() -> None:
    said = body("hello")
    room, other = Room(), Room("zoe")
    made = {
        said.commitment(room=room.id, author=room.me),
        said.commitment(room=other.id, author=room.me),
        said.commitment(room=room.id, author=other.me),
        Body(seed("salt"), said.data).commitment(room=room.id, author=room.me),
        Body(said.salt, said.data + b"!").commitment(room=room.id, author=room.me),
    }
    assert len(made) == 5


def test_a_slots_items_are_its_control_entries_then_its_bodies() -> None:
    room = Room()
    approve = Approve(seed("slot"), 0)
    kept = room.slot(0, [body("a"), body("b")], control=[approve])
    leaves = leaves_of(kept.slot, slot_id=kept.id, author=room.me)
    assert [(leaf.position, leaf.content) for leaf in leaves] == [
        (0, approve),
        (1, kept.slot.commitments[0]),
        (2, kept.slot.commitments[1]),
    ]
    assert {(leaf.slot, leaf.author) for leaf in leaves} == {(kept.id, room.me)}


def test_a_certificate_by_any_quorum_holds() -> None:
    assert TIP.committee.quorum == 3
    everyone = ROOM.certificate(LAST.block, signers=4).signatures
    for absent in range(4):
        assert holds(Certificate(0, tuple(pair for pair in everyone if pair[0] != absent)))
    assert holds(Certificate(0, everyone))


def test_a_certificate_of_another_round_is_another_text() -> None:
    later = ROOM.certificate(LAST.block, round_=7)
    assert holds(later)
    assert not holds(msgspec.structs.replace(later, round=6))


@pytest.mark.parametrize(
    "pick",
    [(), (0, 1), (0, 0, 1), (0, 1, 1), (1, 0, 2), (0, 2, 1), (2, 1, 0)],
    ids=str,
)
def test_too_few_signers_twice_the_same_or_out_of_order_make_no_certificate(pick: tuple[int, ...]) -> None:
    everyone = ROOM.certificate(LAST.block, signers=4).signatures
    assert not holds(Certificate(0, tuple(everyone[place] for place in pick)))


def test_a_signature_under_another_place_or_by_a_stranger_spoils_a_certificate() -> None:
    a, b, c, d = ROOM.certificate(LAST.block, signers=4).signatures
    assert holds(Certificate(0, (a, b, c)))
    assert not holds(Certificate(0, (a, b, (2, d[1]))))
    assert not holds(Certificate(0, (a, b, (3, Signature(bytes(64))))))
    assert not holds(Certificate(0, (a, b, c, (4, d[1]))))
    assert not holds(Certificate(0, (a, b, c, (3, c[1])))), "one bad line among enough good ones"


def test_a_certificate_says_nothing_of_another_block() -> None:
    certificate = ROOM.certificate(LAST.block)
    for field, value in [("log_size", 1), ("log_root", seed("r")), ("prev", seed("p")), ("leader", ROOM.me)]:
        other = msgspec.structs.replace(LAST.block, **{field: value})
        if other != LAST.block:
            assert not certificate_holds(
                certificate, other, room=ROOM.id, committee=TIP.committee, verify=ed25519_verify
            )


def opened_note(note: str, keys: dict[str, bytes]) -> tuple[str, list[str]]:
    """Independent of ours, after C2SP signed-note: the text, and the names whose Ed25519 lines verify."""
    text, _, lines = note.rpartition("\n\n")
    text += "\n"
    assert note.endswith("\n")
    verified = []
    for line in lines.removesuffix("\n").split("\n"):
        dash, name, encoded = line.split(" ")
        raw = base64.b64decode(encoded, validate=True)
        assert dash == "\u2014"
        key = keys[name]
        assert raw[:4] == hashlib.sha256(name.encode() + b"\n\x01" + key).digest()[:4]
        try:
            nacl.signing.VerifyKey(key).verify(text.encode(), raw[4:])
        except nacl.exceptions.BadSignatureError:
            continue
        verified.append(name)
    return text, verified


def test_a_certificate_is_a_signed_note_that_any_verifier_reads() -> None:
    certificate = ROOM.certificate(LAST.block, round_=2)
    note = signed_note(certificate, LAST.block, room=ROOM.id, committee=TIP.committee)
    names = {note_key_name(ROOM.id, member.identity): member.vote_key for member in TIP.committee.members}
    text, verified = opened_note(note, dict(names))
    assert verified == list(names)[:3]
    assert not any(set(name) & {"+", " "} for name in names)
    # C2SP tlog-checkpoint: origin, size in decimal, root; then lines of our own.
    origin, size, root, ours = text.removesuffix("\n").split("\n")
    assert origin == f"pigeon.invalid/{ROOM.id.hex()}"
    assert size == str(LAST.block.log_size)
    assert base64.b64decode(root) == LAST.block.log_root
    block = base64.b64encode(LAST.id).decode()
    assert ours == f"pigeon/v1 {LAST.block.epoch} {LAST.block.height} 2 {block}"


def test_a_note_is_rendered_exactly_so() -> None:
    room = Room()
    room.say("ann", "hello")
    kept = next(record for record in room.block() if isinstance(record, KeepBlock))
    note = signed_note(kept.certificate, kept.block, room=room.id, committee=room.tip.committee)
    me, key = room.people["ann"].id, room.people["ann"].vote.public
    name = f"pigeon.invalid/{room.id.hex()}/{me.hex()}"
    key_id = hashlib.sha256(f"{name}\n\x01".encode() + key).digest()[:4]
    line = base64.b64encode(key_id + kept.certificate.signatures[0][1]).decode()
    assert note == (
        f"pigeon.invalid/{room.id.hex()}\n"
        "1\n"
        f"{base64.b64encode(kept.block.log_root).decode()}\n"
        f"pigeon/v1 0 1 0 {base64.b64encode(kept.id).decode()}\n"
        "\n"
        f"\u2014 {name} {line}\n"
    )


def test_a_note_with_one_letter_changed_is_signed_by_nobody() -> None:
    note = signed_note(ROOM.certificate(LAST.block), LAST.block, room=ROOM.id, committee=TIP.committee)
    names = {note_key_name(ROOM.id, member.identity): member.vote_key for member in TIP.committee.members}
    changed = note.replace(f"\n{LAST.block.log_size}\n", f"\n{LAST.block.log_size + 1}\n")
    assert opened_note(note, dict(names))[1]
    assert opened_note(changed, dict(names))[1] == []


def test_a_position_is_lane_and_seq() -> None:
    slot: Slot = Room().say("ann", "x").slot
    assert slot.position == (0, 1)
