"""A newcomer believes the fingerprint, its invitation's anchor and what follows from these; no member."""

import msgspec
import pytest

from chain.block import Certificate
from chain.codec import encode
from chain.control import Anchor
from chain.crypto import ed25519_verify
from chain.ids import BlockId, Hash, MemberId
from chain.joiner import Joiner, JoinStep
from chain.message import Final, Finals, Hello, Message, PullFinals, Refusal, pack, unpack
from chain.records import KeepEpoch
from tests.chain.drawing import Person, Room, grown_room, seed, talk

ROOM = grown_room(nicks=["bob", "cal", "dee"], blocks=1)
DEE = ROOM.people["dee"].id


def epochs(room: Room) -> list[KeepEpoch]:
    return [kept for kept in room.history if isinstance(kept, KeepEpoch)]


LAST = epochs(ROOM)[-1]
assert LAST.frontier is not None
assert LAST.spent is not None
FINALS = tuple(Final(kept.final, kept.certificate) for kept in epochs(ROOM))
RIGHT = Finals(0, encode(ROOM.genesis), FINALS, LAST.frontier, LAST.spent, more=False)
HELLO = Hello(epoch=9, height=99, block=BlockId(seed("head")), linked=(), mine=None, yours=None, reply=True)


def joiner(*, identity: MemberId = DEE, anchor: Anchor | None = None) -> Joiner:
    return Joiner(room=ROOM.id, identity=identity, anchor=anchor, verify=ed25519_verify)


def hears(one: Joiner, *messages: Message) -> JoinStep:
    (data,) = pack(list(messages))
    return one.receive(data)


def asked(step: JoinStep) -> list[Message]:
    return [message for data in step.send for message in unpack(data)]


def anchor_at(number: int) -> Anchor:
    return Anchor(FINALS[number].block.height, FINALS[number].block.id(ROOM.id))


@pytest.mark.parametrize("anchor", [None, anchor_at(0), anchor_at(1), anchor_at(2)])
def test_the_whole_walk_in_one_answer_is_what_a_store_begins_with(anchor: Anchor | None) -> None:
    step = hears(joiner(anchor=anchor), RIGHT)
    bare = [KeepEpoch(at, one.block, one.certificate, None, None) for at, one in enumerate(FINALS[:-1], 1)]
    assert step == JoinStep(genesis=ROOM.genesis, admitted=(*bare, LAST))


def test_a_long_walk_is_asked_for_piece_by_piece() -> None:
    one = joiner()
    assert [message for data in one.start() for message in unpack(data)] == [PullFinals(0)]
    for at in range(2):
        finals = FINALS[at : at + 1]
        piece = msgspec.structs.replace(RIGHT, epoch=at, finals=finals, more=True)
        assert asked(hears(one, piece)) == [PullFinals(at + 1)]
    step = hears(one, msgspec.structs.replace(RIGHT, epoch=2, finals=FINALS[2:]))
    assert step.admitted is not None
    assert step.admitted[-1] == LAST


def test_a_newcomer_that_is_not_in_yet_waits_and_asks_when_it_hears_of_a_later_epoch() -> None:
    one = joiner(identity=Person("eve").id)
    step = hears(one, RIGHT)
    assert (step.admitted, step.fault, asked(step)) == (None, None, [])
    assert asked(hears(one, HELLO)) == [PullFinals(3)]
    assert asked(hears(one, msgspec.structs.replace(HELLO, epoch=3))) == []
    assert hears(one, Refusal("no")).refused == "no"


def test_an_answer_that_comes_twice_changes_nothing() -> None:
    one = joiner(identity=Person("eve").id)
    hears(one, RIGHT)
    again = hears(one, RIGHT)
    assert again == JoinStep()


BAD_FRONTIER = msgspec.structs.replace(RIGHT, frontier=(*LAST.frontier[:-1], Hash(seed("x"))))
LIES: dict[str, Finals] = {
    "another genesis": msgspec.structs.replace(RIGHT, genesis=encode(Room("zoe").genesis)),
    "a genesis cut short": msgspec.structs.replace(RIGHT, genesis=RIGHT.genesis[:-1]),
    "one left out": msgspec.structs.replace(RIGHT, finals=(FINALS[0], FINALS[2])),
    "the first left out": msgspec.structs.replace(RIGHT, finals=FINALS[1:]),
    "out of turn": msgspec.structs.replace(RIGHT, finals=(FINALS[1], FINALS[0], FINALS[2])),
    "one unsigned": msgspec.structs.replace(
        RIGHT, finals=(FINALS[0], Final(FINALS[1].block, Certificate(0, ())), FINALS[2])
    ),
    "one with another's signatures": msgspec.structs.replace(
        RIGHT, finals=(FINALS[0], Final(FINALS[1].block, FINALS[2].certificate), FINALS[2])
    ),
    "one changed": msgspec.structs.replace(
        RIGHT,
        finals=(
            *FINALS[:2],
            Final(msgspec.structs.replace(FINALS[2].block, log_size=3), FINALS[2].certificate),
        ),
    ),
    "another frontier": BAD_FRONTIER,
    "no frontier": msgspec.structs.replace(RIGHT, frontier=()),
    "other spent keys": msgspec.structs.replace(RIGHT, spent=LAST.spent[1:]),
    "spent keys in disorder": msgspec.structs.replace(RIGHT, spent=LAST.spent[::-1]),
}


@pytest.mark.parametrize("what", list(LIES))
def test_a_lie_is_the_peers_fault_and_lets_nobody_in(what: str) -> None:
    step = hears(joiner(), LIES[what])
    assert step.fault
    assert step.admitted is None


def test_garbage_is_a_fault_too() -> None:
    assert joiner().receive(b"\x93garbage").fault


def rewritten() -> Finals:
    """The founder's other past for the same room, in which dee is a member as well."""
    room = Room()
    talk(room, 2)
    for nick in ("mal", "dee"):
        room.admit(nick)
        talk(room, 1)
    last = epochs(room)[-1]
    assert last.frontier is not None
    assert last.spent is not None
    finals = tuple(Final(kept.final, kept.certificate) for kept in epochs(room))
    return Finals(0, encode(room.genesis), finals, last.frontier, last.spent, more=False)


def test_a_past_that_the_founder_wrote_anew_is_believed_without_an_anchor_and_with_none_of_them() -> None:
    assert hears(joiner(), rewritten()).admitted is not None
    for number in range(len(FINALS)):
        step = hears(joiner(anchor=anchor_at(number)), rewritten())
        assert step.fault
        assert step.admitted is None


def test_the_founder_has_nothing_to_join() -> None:
    alone = msgspec.structs.replace(RIGHT, finals=(), frontier=(), spent=())
    assert hears(joiner(identity=ROOM.genesis.founder), alone).fault
