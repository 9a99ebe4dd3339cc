"""Evidence against a member, from peers and from files that strangers show, and references people paste."""

from collections.abc import Callable, Sequence
from functools import cache

from msgspec.structs import replace

from chain.block import Block, Head, Slot
from chain.case import Exhibit, Fork, check_case, make_case, parse_reference, reference
from chain.codec import encode
from chain.control import Anchor
from chain.crypto import ed25519_verify
from chain.errors import ChainError
from chain.evidence import (
    BrokenPromise,
    Evidence,
    SignedStub,
    TwoAcks,
    TwoBranches,
    TwoSlots,
    TwoVotes,
    Unjustified,
    convict,
    decode_evidence,
    epoch_of,
)
from chain.ids import BlockId, Hash, SlotId
from chain.message import (
    UNSIGNED,
    Ack,
    Committed,
    Final,
    Precommit,
    Prevote,
    Propose,
    RoundChange,
    justification_digest,
    signed,
)
from chain.records import KeepBlock
from node.errors import Exit
from node.verdict import judge
from tests.chain.drawing import Room, grown_room, seed
from tests.fuzz.decoder import Decoder, Feed, Refused, same
from tests.fuzz.forms import JSON, MESSAGEPACK, TEXT, Form


@cache
def accused_room() -> Room:
    """Bob is the liar; the last epoch has blocks of its own."""
    return grown_room(nicks=["bob", "cal"], blocks=1)


@cache
def pieces() -> tuple[Evidence, ...]:
    """Every kind, each good enough to convict."""
    here = accused_room()
    tip, key, me = here.tip, here.people["bob"].vote, here.lane("bob")
    one, other = (
        signed(Slot(tip.epoch, me, 1, tip.cut[me].id, (), (), (), time, UNSIGNED), room=here.id, key=key)
        for time in (1, 2)
    )
    next_one = signed(replace(one, seq=2, prev=other.id(here.id)), room=here.id, key=key)
    stubs = [SignedStub(slot.stub(here.id), slot.signature) for slot in (one, other)]
    heads = [Head(1, one.id(here.id)), Head(1, other.id(here.id)), Head(2, next_one.id(here.id))]
    acks = [
        signed(Ack(tip.epoch, me, number, ((me, head),), UNSIGNED), room=here.id, key=key)
        for number, head in ((1, heads[0]), (1, heads[1]), (2, heads[2]))
    ]
    blocks = [BlockId(seed("block", which)) for which in "ab"]
    none = justification_digest((), room=here.id, epoch=tip.epoch)
    prevotes = [
        signed(Prevote(tip.epoch, 9, 1, me, block, none, UNSIGNED), room=here.id, key=key) for block in blocks
    ]
    precommits = [
        signed(Precommit(tip.epoch, 9, 1, me, block, 3, Hash(seed("r")), UNSIGNED), room=here.id, key=key)
        for block in blocks
    ]
    asked = [
        signed(RoundChange(tip.epoch, 9, 2, me, lock, UNSIGNED), room=here.id, key=key)
        for lock in (None, (0, blocks[1]))
    ]
    block = next(kept.block for kept in here.history if isinstance(kept, KeepBlock))
    proposals = [
        signed(
            Propose(tip.epoch, 9, 1, me, replace(block, height=9, log_size=size), (), UNSIGNED),
            room=here.id,
            key=key,
        ).stub(here.id)
        for size in (1, 2)
    ]
    return (
        TwoSlots(*stubs),
        TwoAcks(acks[0], acks[1]),
        TwoBranches(acks[0], acks[2], me, (next_one.stub(here.id),)),
        TwoVotes(*prevotes),
        TwoVotes(*precommits),
        TwoVotes(*asked),
        TwoVotes(*proposals),
        BrokenPromise(precommits[0], asked[0]),
        BrokenPromise(precommits[0], asked[1]),
        Unjustified(prevotes[0], ()),
        Unjustified(_justified_by(prevotes[1], (asked[0],)), (asked[0],)),
    )


def _justified_by(vote: Prevote, justification: tuple[RoundChange, ...]) -> Prevote:
    """The same vote, in a round that these few have not asked for."""
    here = accused_room()
    digest = justification_digest(justification, room=here.id, epoch=here.tip.epoch)
    vote = replace(vote, round=3, justification=digest)
    return signed(vote, room=here.id, key=here.people["bob"].vote)


def _evidence_feed() -> Feed:
    """Judged with real signatures, and once more as if all of them were good."""
    here = accused_room()
    committee = here.tip.committee

    def feed(data: bytes) -> object:
        evidence = decode_evidence(data)
        same(encode(evidence), data)
        assert epoch_of(evidence) >= 0
        convict(evidence, room=here.id, committee=committee, verify=lambda *_: True)
        found = convict(evidence, room=here.id, committee=committee, verify=ed25519_verify)
        if found is None:
            raise Refused
        assert found.member == here.people["bob"].id, "an honest member was framed"
        return found

    return feed


@cache
def _walk() -> tuple[Final, ...]:
    kept = [record for record in accused_room().history if isinstance(record, KeepBlock)]
    return tuple(Final(k.block, k.certificate) for k in kept if k.block.next_committee is not None)


def _fork() -> Fork:
    here = accused_room()
    block = [kept.block for kept in here.history if isinstance(kept, KeepBlock)][-1]
    other: Block = replace(block, log_root=Hash(seed("another")))
    return Fork(*(Committed(each, here.certificate(each, signers=3)) for each in (block, other)))


def _cases() -> list[bytes]:
    genesis = encode(accused_room().genesis)
    exhibits: list[Exhibit] = [*pieces(), _fork()]
    return [
        make_case(genesis=genesis, finals=_walk(), exhibit=exhibit, verify=ed25519_verify)
        for exhibit in exhibits
    ]


def _case_feed() -> Feed:
    def feed(data: bytes) -> object:
        case = check_case(data, verify=ed25519_verify)
        assert case.room == accused_room().id or case.accused is not None
        return case

    return feed


def _verdict_feed() -> Feed:
    """What `pigeon verify` says of a file: always a verdict, never an exception."""
    room = accused_room().id.hex()

    def feed(data: bytes) -> object:
        assert not judge(data, room=None).ok, "a file alone shows agreement with itself only"
        verdict = judge(data, room=room)
        if not verdict.ok and verdict.exit is not Exit.BYZANTINE:
            raise Refused(verdict.reason)
        return verdict

    return feed


def _references() -> list[bytes]:
    here = accused_room()
    anchor = Anchor(here.tip.height, BlockId(SlotId(seed("block"))))
    return [
        here.id.hex().encode(),
        reference(here.id, anchor).encode(),
        b" " + here.id.hex().upper().encode(),
    ]


def _reference_feed() -> Feed:
    def feed(data: bytes) -> object:
        room, anchor = parse_reference(data.decode("utf-8", "surrogateescape"))
        assert len(room) == 32
        if anchor is not None:
            assert anchor.height >= 0, "such a block is on no way, and so on every way"
            assert parse_reference(reference(room, anchor)) == (room, anchor)
        return room

    return feed


def _decoder(
    name: str,
    form: Form,
    samples: Callable[[], Sequence[bytes]],
    make: Callable[[], Feed],
    refuses: tuple[type[Exception], ...] = (ChainError,),
) -> Decoder:
    return Decoder(name=name, form=form, samples=samples, make=make, refuses=refuses)


DECODERS = [
    _decoder("evidence", MESSAGEPACK, lambda: [encode(piece) for piece in pieces()], _evidence_feed),
    _decoder("evidence/file", JSON, _cases, _case_feed),
    _decoder("evidence/verdict", JSON, _cases, _verdict_feed, ()),
    _decoder("reference", TEXT, _references, _reference_feed, (ValueError,)),
]
