"""The record's decoders: envelopes by kind of message, what changes a room, a newcomer's walk."""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import cast, get_args

from chain.block import Block, Slot, block_checkpoint, leaves_of, signed_note
from chain.codec import decode, encode
from chain.control import (
    Accuse,
    AdmissionRule,
    Admit,
    Anchor,
    Approve,
    Control,
    Genesis,
    Parent,
    Rekey,
    Remove,
    Request,
    Voucher,
    decode_genesis,
    make_genesis,
    make_request,
    make_voucher,
)
from chain.crypto import ed25519_verify
from chain.errors import InvalidBlockError, MalformedError
from chain.ids import Hash, SlotId
from chain.joiner import Joiner
from chain.ledger import Tip
from chain.membership import Ballot, alike
from chain.message import (
    MAX_ENVELOPE,
    WIRE_VERSION,
    Accusation,
    Ack,
    Envelope,
    Final,
    Finals,
    Hello,
    JoinRequest,
    Message,
    Precommit,
    Prevote,
    Propose,
    Refusal,
    RoundChange,
    SlotCertificate,
    SlotMessage,
    justification_digest,
    pack,
    unpack,
    weight,
)
from chain.records import KeepBlock, KeepEpoch, KeepSlot
from chain.walk import Walk
from tests.chain.drawing import Person, Room, body, grown_room, seed
from tests.chain.test_message import one_of_each
from tests.fuzz.decoder import Decoder, Feed, Refused, same
from tests.fuzz.evidence_borders import pieces
from tests.fuzz.forms import MESSAGEPACK


@cache
def room() -> Room:
    """Three members, a few blocks in each epoch."""
    return grown_room(nicks=["bob", "cal"], blocks=2)


@cache
def messages() -> tuple[Message, ...]:
    """Every kind, small and large, as members of a room of three say them."""
    here = room()
    slots = [SlotMessage(kept.slot, kept.bodies) for kept in here.history if isinstance(kept, KeepSlot)]
    blocks = [kept for kept in here.history if isinstance(kept, KeepBlock)]
    large = Room()
    kept = large.slot(0, [body("x" * 5000), body("y"), body("z" * 300)])
    finals = tuple(
        Final(kept.block, kept.certificate) for kept in blocks if kept.block.next_committee is not None
    )
    epochs = [kept for kept in here.history if isinstance(kept, KeepEpoch)]
    frontier, spent = epochs[-1].frontier, epochs[-1].spent
    assert frontier is not None and spent is not None
    return (
        *one_of_each(),
        *slots[:8],
        SlotMessage(kept.slot, kept.bodies),
        SlotMessage(kept.slot, ()),
        Finals(0, encode(here.genesis), finals, frontier, spent, False),
        Finals(1, b"", finals[1:], frontier, spent, True),
        *(Accusation(encode(piece)) for piece in pieces()),
        *(JoinRequest(request) for request in requests()),
    )


@cache
def requests() -> tuple[Request, ...]:
    """By hand, by invitation, with an anchor, and a member's own for a new vote key."""
    here, dan, key = room(), Person("dan"), Person("secret").identity
    voucher = make_voucher(
        room=here.id, key=Hash(key.public), expires=2_000_000_000, inviter=here.people["ann"].identity
    )
    make = partial(make_request, room=here.id, nick="dan", identity=dan.identity, vote=dan.vote)
    again = make_request(
        room=here.id, nick="bob", identity=here.people["bob"].identity, vote=Person("bob again").vote
    )
    return (
        make(),
        make(voucher=voucher, invitation=key),
        make(voucher=voucher, invitation=key, anchor=Anchor(here.tip.height, here.tip.block)),
        again,
    )


def _deeper(message: Message, here: Room) -> None:
    """What a replica works out about a message before it believes a word of it."""
    weight(message)
    match message:
        case SlotMessage(slot=slot, bodies=bodies):
            _hash_slot(slot, here)
            for one in bodies:
                one.commitment(room=here.id, author=here.me)
        case RoundChange() | Ack() | Prevote() | Precommit():
            message.preimage(here.id)
        case Propose(justification=justification, epoch=epoch):
            message.preimage(here.id)
            justification_digest(justification, room=here.id, epoch=epoch)
        case SlotCertificate(acks=acks, chain=chain):
            for ack in acks:
                ack.preimage(here.id)
            for stub in chain:
                stub.id(here.id)
        case Finals(finals=finals):
            for final in finals:
                _hash_block(final.block, here)
        case _:
            block = getattr(message, "block", None)
            if isinstance(block, Block):
                _hash_block(block, here)


def _hash_slot(slot: Slot, here: Room) -> None:
    slot.preimage(here.id)
    leaves_of(slot, slot_id=slot.id(here.id), author=here.me)


def _hash_block(block: Block, here: Room) -> None:
    block_checkpoint(block, room=here.id, round_=2**53)
    if block.next_committee is not None:
        block.next_committee.is_well_formed()
        block.next_committee.place(here.me)
        assert len(block.next_committee.digest) == 32


def _envelope_feed() -> Feed:
    here = room()

    def feed(data: bytes) -> object:
        found = unpack(data)
        same(encode(Envelope(WIRE_VERSION, found)), data)
        for message in found:
            _deeper(message, here)
        return found

    return feed


def _enveloped(kind: type[Message]) -> list[bytes]:
    return [data for message in messages() if isinstance(message, kind) for data in pack([message])]


def _mixed() -> list[bytes]:
    every = list(messages())
    return [*pack(every), *pack(every[::-1]), *pack(every[:3]), encode(Envelope(WIRE_VERSION, ()))]


# What changes a room


@cache
def controls() -> tuple[Control, ...]:
    here, asks = room(), requests()
    return (
        *(Admit(request) for request in asks[:3]),
        Remove(here.people["bob"].id),
        Rekey(asks[3]),
        Approve(SlotId(seed("slot")), 0),
        Approve(SlotId(seed("motion")), 1),
        *(Accuse(encode(piece)) for piece in pieces()),
        Accuse(b""),
        Accuse(b"x" * 8000),
    )


def _control_feed() -> Feed:
    """Counted, with every signature checked, where another motion stands already."""
    here = room()
    tip: Tip = here.tip
    standing = Ballot().with_control(
        Remove(here.people["cal"].id),
        at=(SlotId(seed("motion")), 1),
        author=here.people["ann"].id,
        committee=tip.committee,
        spent=tip.spent,
        room=here.id,
        verify=ed25519_verify,
    )

    def feed(data: bytes) -> object:
        control = cast(Control, decode(data, cast(type[object], Control), limit=MAX_ENVELOPE))
        same(encode(control), data)
        after = standing.with_control(
            control,
            at=(SlotId(seed("here")), 0),
            author=here.people["bob"].id,
            committee=tip.committee,
            spent=tip.spent,
            room=here.id,
            verify=ed25519_verify,
        )
        assert after.passed is None, "one of three is no quorum"
        if isinstance(control, Admit):
            alike(control.request.nick, "ann")
        return after

    return feed


def _controls_of(kind: type[Control]) -> list[bytes]:
    return [encode(control) for control in controls() if isinstance(control, kind)]


def _geneses() -> list[bytes]:
    ann = Person("ann")
    make = partial(
        make_genesis, nonce=Hash(seed("n")), nick="ann", identity=ann.identity, vote=ann.vote, name="r"
    )
    return [
        encode(room().genesis),
        encode(make(rule=AdmissionRule.AUTO)),
        encode(make(rule=AdmissionRule.ASK, parent=Parent(room().id, room().tip.block))),
    ]


def _genesis_feed() -> Feed:
    def feed(data: bytes) -> object:
        claimed = decode(data, Genesis, limit=MAX_ENVELOPE).room_id()
        genesis = decode_genesis(data, room=claimed, verify=ed25519_verify)
        same(encode(genesis), data)
        return genesis

    return feed


def _voucher_feed() -> Feed:
    here = room()

    def feed(data: bytes) -> object:
        voucher = decode(data, Voucher, limit=512)
        same(encode(voucher), data)
        if not voucher.holds(room=here.id, verify=ed25519_verify):
            raise Refused
        return voucher

    return feed


def _vouchers() -> list[bytes]:
    return [encode(request.voucher) for request in requests() if request.voucher is not None]


# A newcomer's walk, and certificates on the way


def _walks() -> list[bytes]:
    walk = [message for message in messages() if isinstance(message, Finals)]
    tip = room().tip
    hello = Hello(tip.epoch, tip.height, tip.block, (room().me,), None, None, False)
    whole, part = walk[-2], walk[-1]
    start = Finals(0, whole.genesis, whole.finals[:1], (), (), True)
    return [*pack([whole]), *pack([start]), *pack([start, part]), *pack([hello]), *pack([Refusal("no")])]


def _joiner_feed() -> Feed:
    here = room()

    def feed(data: bytes) -> object:
        joiner = Joiner(room=here.id, identity=here.people["cal"].id, anchor=None, verify=ed25519_verify)
        step = joiner.receive(data)
        if step.fault is not None:
            raise Refused(step.fault)
        if step.admitted is not None:
            assert step.admitted[-1].final.id(here.id) == here_final(here)
        return step

    return feed


def here_final(here: Room) -> bytes:
    """The block that the last epoch began with."""
    blocks = [kept for kept in here.history if isinstance(kept, KeepBlock)]
    return [kept.id for kept in blocks if kept.block.next_committee is not None][-1]


def _final_feed() -> Feed:
    """An epoch-final block with its certificate, as a light client meets it."""
    genesis = Room().genesis

    def feed(data: bytes) -> object:
        final = decode(data, Final, limit=MAX_ENVELOPE)
        same(encode(final), data)
        walk = Walk.from_genesis(genesis, verify=ed25519_verify)
        signers = walk.committee
        walk.follow(final.block, final.certificate)
        note = signed_note(final.certificate, final.block, room=walk.room, committee=signers)
        assert note.count("\n") == 5 + len(final.certificate.signatures)
        here = Anchor(final.block.height, final.block.id(walk.room))
        Walk.from_anchor(here, final.block, room=walk.room, verify=ed25519_verify)
        return walk

    return feed


def _finals() -> list[bytes]:
    here = Room()
    here.admit("bob")
    kept = next(kept for kept in here.history if isinstance(kept, KeepBlock))
    return [encode(Final(kept.block, kept.certificate))]


def _kind_name(kind: type) -> str:
    return "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in kind.__name__)[1:]


def _decoder(
    name: str, samples: Callable[[], Sequence[bytes]], make: Callable[[], Feed], **more: int
) -> Decoder:
    return Decoder(
        name=name,
        form=MESSAGEPACK,
        samples=samples,
        make=make,
        refuses=(MalformedError, InvalidBlockError),
        **more,  # type: ignore[arg-type]
    )


DECODERS = [
    _decoder("envelope", _mixed, _envelope_feed),
    *(
        _decoder(f"message/{_kind_name(kind)}", partial(_enveloped, kind), _envelope_feed)
        for kind in get_args(Message)
    ),
    *(
        _decoder(f"control/{_kind_name(kind)}", partial(_controls_of, kind), _control_feed)
        for kind in get_args(Control)
    ),
    _decoder("genesis", _geneses, _genesis_feed),
    _decoder("voucher", _vouchers, _voucher_feed),
    _decoder("final", _finals, _final_feed),
    _decoder("newcomer", _walks, _joiner_feed),
]
