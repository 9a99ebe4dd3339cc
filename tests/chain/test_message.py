"""Envelopes: what goes in comes out in order; signatures of one kind never serve for another."""

import itertools
from typing import get_args

import msgspec
import pytest

from chain.block import Head, Slot, block_checkpoint
from chain.codec import encode
from chain.control import make_request
from chain.crypto import ed25519_verify
from chain.errors import MalformedError
from chain.message import (
    ENVELOPE_TARGET,
    MAX_ENVELOPE,
    UNSIGNED,
    Accusation,
    Ack,
    BlockMessage,
    Committed,
    Envelope,
    Final,
    Finals,
    Hello,
    JoinRequest,
    Message,
    Precommit,
    Prevote,
    Propose,
    PullBlock,
    PullFinals,
    PullRange,
    PullSlot,
    Refusal,
    RoundChange,
    Rounds,
    SlotCertificate,
    SlotMessage,
    Standing,
    justification_digest,
    pack,
    signed,
    unpack,
)
from chain.records import KeepBlock, KeepSlot
from tests.chain.drawing import Person, Room, body, seed, talk


def one_of_each() -> list[Message]:
    """A plausible message of every kind."""
    room = Room()
    talk(room, 1)
    slot = next(record for record in room.history if isinstance(record, KeepSlot))
    kept = next(record for record in room.history if isinstance(record, KeepBlock))
    key = room.people["ann"].vote
    bob = Person("bob")
    head = Head(1, slot.id)
    prevote = signed(Prevote(0, 2, 0, 0, kept.id, seed("justification"), UNSIGNED), room=room.id, key=key)
    change = signed(RoundChange(0, 2, 1, 0, (0, kept.id), UNSIGNED, (prevote,)), room=room.id, key=key)
    ack = signed(Ack(0, 0, 1, ((0, head),), UNSIGNED), room=room.id, key=key)
    standing = Standing(1, slot.id, 0, Rounds(prevoted=2))
    return [
        SlotMessage(slot.slot, slot.bodies),
        ack,
        prevote,
        signed(Precommit(0, 2, 0, 0, kept.id, 1, seed("root"), UNSIGNED), room=room.id, key=key),
        change,
        signed(Propose(0, 2, 1, 0, kept.block, (change,), UNSIGNED), room=room.id, key=key),
        Hello(0, 1, kept.id, (room.me,), standing, None, True),
        PullSlot(0, 0, 0, head),
        PullBlock(2, kept.id),
        BlockMessage(kept.block),
        PullRange(1),
        Committed(kept.block, kept.certificate),
        Accusation(b"evidence"),
        JoinRequest(make_request(room=room.id, nick="bob", identity=bob.identity, vote=bob.vote)),
        PullFinals(0),
        Finals(0, encode(room.genesis), (Final(kept.block, kept.certificate),), (seed("peak"),), (), False),
        Refusal("the nick is taken"),
        SlotCertificate(0, 0, head, (ack,), (slot.slot.stub(room.id),)),
    ]


def test_there_is_one_of_each() -> None:
    assert {type(message) for message in one_of_each()} == set(get_args(Message))


def test_an_envelope_gives_back_what_was_put_in_in_order() -> None:
    messages = one_of_each()
    (envelope,) = pack(messages)
    assert list(unpack(envelope)) == messages
    assert pack([]) == []


def test_envelopes_are_closed_before_they_grow_too_large() -> None:
    room = Room()
    slots = [room.slot(0, [body(f"{number} " + "x" * 60_000)]) for number in range(20)]
    messages: list[Message] = [SlotMessage(kept.slot, kept.bodies) for kept in slots]
    envelopes = pack(messages)
    assert [message for envelope in envelopes for message in unpack(envelope)] == messages
    assert len(envelopes) == 5
    assert all(len(envelope) <= ENVELOPE_TARGET + 16 for envelope in envelopes)


def test_many_small_messages_are_spread_over_envelopes_that_decode() -> None:
    messages: list[Message] = [PullRange(height) for height in range(10_000)]
    envelopes = pack(messages)
    assert [message for envelope in envelopes for message in unpack(envelope)] == messages
    assert len(envelopes) == 3


@pytest.mark.parametrize("version", [0, 2, 100, 127])
def test_another_version_is_named(version: int) -> None:
    with pytest.raises(MalformedError, match=f"version {version} of the protocol; this node speaks 1"):
        unpack(encode(Envelope(version, ())))


@pytest.mark.parametrize("version", [128, 300, -5])
def test_no_other_version_is_taken_for_ours(version: int) -> None:
    with pytest.raises(MalformedError):
        unpack(encode(Envelope(version, ())))


@pytest.mark.parametrize("data", [b"", b"\x92", b"\x92\x01", b"\x92\x01\x91\x91\x63", b"junk", b"\xc0" * 99])
def test_junk_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedError):
        unpack(data)


def test_an_oversize_envelope_is_malformed_before_it_is_read() -> None:
    with pytest.raises(MalformedError, match="at most 1048576 are allowed"):
        unpack(b"\x92\x01" + bytes(MAX_ENVELOPE))


SIGNED = [message for message in one_of_each() if hasattr(message, "signature")]
SIGNED.append(next(message.slot for message in one_of_each() if isinstance(message, SlotMessage)))


@pytest.mark.parametrize("message", SIGNED, ids=lambda message: type(message).__name__)
def test_a_signature_covers_every_field_but_what_is_attached(message: Ack | Slot) -> None:
    room = Room()
    public = room.people["ann"].vote.public
    assert ed25519_verify(public, message.preimage(room.id), message.signature)
    attached = {"signature", "polka"}
    for name in set(type(message).__struct_fields__) - attached:
        other = _another(getattr(message, name))
        changed = msgspec.structs.replace(message, **{name: other})
        if name == "signer" and isinstance(message, Precommit):
            # A note's signer is named by the line under the text, not in it.
            assert changed.preimage(room.id) == message.preimage(room.id)
        else:
            assert not ed25519_verify(public, changed.preimage(room.id), message.signature), name
    assert not ed25519_verify(public, message.preimage(Room("zoe").id), message.signature)


def _another(value: object) -> object:
    match value:
        case int():
            return value + 1
        case bytes():
            return bytes([value[0] ^ 1]) + value[1:]
        case None:
            return (0, seed("block"))
        case (int(), bytes()):
            return None
        case tuple():
            return value[1:] if value else (seed("one more"),)
        case msgspec.Struct():
            return msgspec.structs.replace(value, log_size=99)
    raise AssertionError(value)


def test_no_two_kinds_of_vote_share_a_preimage() -> None:
    room, block = Room(), seed("block")
    votes = [
        Ack(0, 0, 0, (), UNSIGNED),
        Prevote(0, 0, 0, 0, block, block, UNSIGNED),
        Precommit(0, 0, 0, 0, block, 0, block, UNSIGNED),
        RoundChange(0, 0, 0, 0, None, UNSIGNED),
    ]
    preimages = [vote.preimage(room.id) for vote in votes]
    for one, other in itertools.permutations(preimages, 2):
        assert not one.startswith(other)


def test_a_precommit_signs_the_line_of_the_note() -> None:
    room = Room()
    talk(room, 1)
    kept = next(record for record in room.history if isinstance(record, KeepBlock))
    block = kept.block
    vote = Precommit(0, 1, 4, 0, kept.id, block.log_size, block.log_root, UNSIGNED)
    assert vote.preimage(room.id) == block_checkpoint(block, room=room.id, round_=4)


def test_a_justification_is_named_by_what_is_signed_in_it_not_by_what_is_attached() -> None:
    room = Room()
    change = next(message for message in one_of_each() if isinstance(message, RoundChange))
    bare = msgspec.structs.replace(change, polka=())

    def digest(*changes: RoundChange) -> bytes:
        return justification_digest(changes, room=room.id, epoch=0)

    assert digest(change) == digest(bare)
    other = msgspec.structs.replace(bare, signature=UNSIGNED)
    assert len({digest(), digest(bare), digest(other), digest(bare, other), digest(other, bare)}) == 5
