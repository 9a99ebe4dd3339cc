"""The store gives back what was kept: to a founder, a newcomer, a restarted replica, a peer who asks."""

import dataclasses
import itertools

import pytest

from chain.block import Body, Leaf
from chain.codec import encode
from chain.control import Admit, Request, make_request
from chain.crypto import ed25519_verify
from chain.errors import StoreError
from chain.ids import BlockId, Hash, MemberId, VoteKey
from chain.ledger import Tip, genesis_tip, tip_after_final
from chain.merkle import Frontier
from chain.message import Committed, SlotMessage
from chain.records import (
    Dequeue,
    Enqueue,
    Forget,
    Journal,
    KeepBlock,
    KeepEpoch,
    KeepEvidence,
    KeepSlot,
    Record,
    Snapshot,
)
from chain.store import Store
from chain.walk import Walk
from tests.chain.drawing import Person, Room, body, grown_room, seed, talk


def new_store(room: Room, me: MemberId | None = None) -> Store:
    return Store.create(":memory:", genesis=room.genesis, me=me or room.me, verify=ed25519_verify)


def kept_by_founder(room: Room) -> Store:
    store = new_store(room)
    for record in merged(room.history):
        store.apply(record)
    return store


def merged(history: list[Record]) -> list[list[Record]]:
    """One transaction a block: its slots, itself, and the epoch it starts."""
    batches: list[list[Record]] = [[]]
    for record in history:
        if isinstance(record, KeepSlot) and any(isinstance(kept, KeepBlock) for kept in batches[-1]):
            batches.append([])
        batches[-1].append(record)
    return batches


def walk_of(room: Room, epoch: int) -> list[KeepEpoch]:
    """What a newcomer of this epoch keeps first: all starts, only the last one complete."""
    starts = [record for record in room.history if isinstance(record, KeepEpoch)][:epoch]
    return [*(dataclasses.replace(start, frontier=None, spent=None) for start in starts[:-1]), starts[-1]]


def batches_of(room: Room, *, above: int, through: int) -> list[list[Record]]:
    def height_of(batch: list[Record]) -> int:
        return next(record.block.height for record in batch if isinstance(record, KeepBlock))

    return [batch for batch in merged(room.history) if above < height_of(batch) <= through]


def test_a_new_store_stands_at_genesis() -> None:
    room = Room()
    store = new_store(room)
    start = genesis_tip(room.genesis)
    assert store.snapshot() == Snapshot(start, None, None, (), (), (), (), (start.committee,))
    assert (store.room, store.me, store.genesis) == (room.id, room.me, room.genesis)
    assert (store.complete_through(), store.log_size(), list(store.items())) == (0, 0, [])
    assert store.blocks_from(1, limit=1000) == []
    assert not store.rolled_back


def test_a_restart_finds_the_tip_with_its_ballot_and_the_slots_above_the_cut() -> None:
    room = grown_room()
    motion_holder = room.slot(0, control=[Admit(_a_request(room))])
    room.block()
    above = [room.say("ann", "one", "two"), room.say("ann", "three"), room.say("bob", "four")]
    store = kept_by_founder(room)
    snapshot = store.snapshot()
    assert snapshot.tip == room.tip
    assert list(snapshot.tip.ballot.motions) == [(motion_holder.id, 0)]
    assert snapshot.slots == tuple(sorted(above, key=lambda kept: kept.slot.position))
    assert snapshot.history is None


def _a_request(room: Room) -> Request:
    dee = Person("dee")
    return make_request(room=room.id, nick="dee", identity=dee.identity, vote=dee.vote)


def test_snapshots_between_applies_are_the_same_as_one_at_the_end() -> None:
    room = grown_room(blocks=2)
    store, lazy = new_store(room), new_store(room)
    for batch in merged(room.history):
        store.apply(batch)
        lazy.apply(batch)
        store.snapshot()
    assert store.snapshot() == lazy.snapshot()
    assert store.snapshot().tip == room.tip


def test_items_carry_the_nick_the_text_and_the_place_of_each() -> None:
    room = grown_room(nicks=["bob"], blocks=1)
    store = kept_by_founder(room)
    items = list(store.items())
    assert [item.index for item in items] == list(range(store.log_size())) == list(range(4))
    assert [(item.height, item.nick, item.data and item.data[16:].decode()) for item in items] == [
        (1, "ann", "ann says something at 1"),
        (2, "ann", None),
        *sorted(
            [(3, "ann", "ann says something at 3"), (3, "bob", "bob says something at 3")],
            key=lambda shown: room.lane(shown[1]),
        ),
    ]
    assert isinstance(items[1].content, Admit)
    assert [item.index for item in store.items(1, stop=3)] == [1, 2]
    assert list(store.items(4)) == []


def test_items_can_be_read_while_new_ones_are_kept() -> None:
    room = Room()
    talk(room, 400)
    batches = merged(room.history)
    store = new_store(room)
    for batch in batches[:300]:
        store.apply(batch)
    reading = store.items()
    first = list(itertools.islice(reading, 10))
    for batch in batches[300:]:
        store.apply(batch)
    assert [item.index for item in [*first, *reading]] == list(range(400))


def test_blocks_are_served_whole_with_the_slots_they_order() -> None:
    room = grown_room(blocks=2)
    store = kept_by_founder(room)
    messages = store.blocks_from(1, limit=10**9)
    expected = []
    for batch in merged(room.history):
        block = next(record for record in batch if isinstance(record, KeepBlock))
        slots = sorted(
            (record for record in batch if isinstance(record, KeepSlot)),
            key=lambda record: record.slot.position,
        )
        expected.append(Committed(block.block, block.certificate))
        expected += [SlotMessage(kept.slot, kept.bodies) for kept in slots]
    assert messages == expected


def test_no_block_is_served_above_the_last_that_one_may_see() -> None:
    room = grown_room(blocks=2)
    store = kept_by_founder(room)
    whole = store.blocks_from(1, limit=10**9)
    for last in range(room.tip.height + 1):
        served = store.blocks_from(1, limit=10**9, last=last)
        blocks = [message for message in served if isinstance(message, Committed)]
        assert [message.block.height for message in blocks] == list(range(1, last + 1))
        assert served == whole[: len(served)]
        assert store.blocks_from(last + 1, limit=10**9, last=last) == []


def test_a_block_is_found_by_what_a_later_room_cites_it_by() -> None:
    room = grown_room(blocks=2)
    store = kept_by_founder(room)
    assert store.height_of(BlockId(room.id)) == 0
    for kept in room.history:
        if isinstance(kept, KeepBlock):
            assert store.height_of(kept.id) == kept.block.height
    assert store.height_of(BlockId(seed("elsewhere"))) is None


@pytest.mark.parametrize("height", [1, 3, 4, 8])
def test_a_limit_cuts_between_blocks_and_lets_at_least_one_through(height: int) -> None:
    room = grown_room(blocks=2)
    store = kept_by_founder(room)
    whole = store.blocks_from(height, limit=10**9)
    pieces, at = [], height
    while piece := store.blocks_from(at, limit=700):
        heights = [message.block.height for message in piece if isinstance(message, Committed)]
        assert len(encode(piece)) <= 800 or len(heights) == 1
        assert heights == list(range(at, at + len(heights)))
        pieces += piece
        at = heights[-1] + 1
    assert pieces == whole
    assert at == room.tip.height + 1


def walked(store: Store, *, limit: int) -> tuple[Tip, int]:
    """A newcomer's walk through what a store serves: the state it ends in, and how many answers it took."""
    walk, answers = Walk.from_genesis(store.genesis, verify=ed25519_verify), 0
    tip = genesis_tip(store.genesis)
    while True:
        answer = store.finals_from(walk.epoch, limit=limit)
        answers += 1
        assert bool(answer.genesis) == (walk.epoch == 0)
        for final in answer.finals:
            walk.follow(final.block, final.certificate)
        if answer.finals:
            last = answer.finals[-1].block
            frontier = Frontier(last.log_size, answer.frontier)
            tip = tip_after_final(room=store.room, block=last, frontier=frontier, spent=answer.spent)
        if not answer.more:
            return tip, answers


def test_a_newcomer_can_walk_the_epochs_that_a_store_serves_in_one_answer_or_many() -> None:
    room = grown_room(nicks=["bob", "cal", "dee"], blocks=2)
    store = kept_by_founder(room)
    start = store.snapshot().tip
    whole, answers = walked(store, limit=10**6)
    assert (whole.epoch, whole.committee, answers) == (3, start.committee, 1)
    in_pieces, answers = walked(store, limit=10)
    assert (in_pieces, answers) == (whole, 3)


def test_a_room_without_a_second_member_serves_its_genesis_and_no_finals() -> None:
    room = Room()
    answer = new_store(room).finals_from(0, limit=1000)
    assert answer.genesis == encode(room.genesis)
    assert (answer.finals, answer.frontier, answer.more) == ((), (), False)
    assert answer.spent == (room.genesis.vote_key,)


def newcomer(room: Room, *, epoch: int) -> Store:
    store = new_store(room, me=room.person_at(0).id)
    store.apply(walk_of(room, epoch))
    return store


def test_a_newcomer_begins_at_the_last_epoch_with_an_empty_history() -> None:
    room = grown_room()
    room.admit("dee")
    store = newcomer(room, epoch=3)
    snapshot = store.snapshot()
    assert snapshot.tip == room.tip
    assert snapshot.history == genesis_tip(room.genesis)
    assert (store.complete_through(), store.log_size()) == (0, room.tip.frontier.size)
    assert list(store.items()) == []
    walk, _ = walked(store, limit=10**6)
    assert walk == room.tip


def test_a_newcomer_takes_new_blocks_and_history_side_by_side_until_they_meet() -> None:
    room = grown_room(blocks=2)
    base = room.tip
    base_height = max(record.final.height for record in room.history if isinstance(record, KeepEpoch))
    talk(room, 3)
    store = newcomer(room, epoch=2)
    past = batches_of(room, above=0, through=base_height)
    present = batches_of(room, above=base_height, through=room.tip.height)
    assert base.height > base_height
    for old, new in itertools.zip_longest(past, present, fillvalue=[]):
        store.apply([*old, *new])
        history = store.snapshot().history
        assert (history is None) == (old is past[-1] or store.complete_through() == store.log_size())
        if history is not None:
            assert store.complete_through() == history.frontier.size < store.log_size()
            assert len(list(store.items())) == store.complete_through()
    assert store.snapshot() == kept_by_founder(room).snapshot()
    assert store.complete_through() == store.log_size() == len(list(store.items()))
    assert store.finals_from(0, limit=10**6) == kept_by_founder(room).finals_from(0, limit=10**6)


def test_a_history_that_leads_elsewhere_than_the_newcomers_beginning_is_refused() -> None:
    room, other = grown_room(nicks=["bob"], blocks=1), Room()
    talk(other, 1, text=lambda nick, height: "something else")
    other.admit("bob")
    store = newcomer(room, epoch=1)
    store.apply(batches_of(other, above=0, through=1)[0])
    assert store.complete_through() == 1
    forged = [
        record
        for record in batches_of(other, above=1, through=2)[0]
        if isinstance(record, KeepSlot | KeepBlock)
    ]
    with pytest.raises(StoreError, match="epoch 1 starts from another block"):
        store.apply(forged)


def test_another_block_at_a_final_height_is_never_written() -> None:
    room, other = Room(), Room()
    talk(room, 1)
    talk(other, 1, text=lambda nick, height: "something else")
    store = kept_by_founder(room)
    with pytest.raises(StoreError, match="block 1 is final already"):
        store.apply(other.history)
    assert store.snapshot().tip == room.tip
    store.apply(room.history)
    assert store.snapshot().tip == room.tip


def test_an_apply_that_fails_in_the_middle_leaves_nothing_behind() -> None:
    room = Room()
    store = new_store(room)
    slot = room.say("ann", "hello")
    misfit = dataclasses.replace(slot, bodies=(body("a"), body("b")))
    with pytest.raises(ValueError, match="all its bodies or with none"):
        store.apply([Journal("a", b"1"), Enqueue(body("x")), misfit])
    start = genesis_tip(room.genesis)
    assert store.snapshot() == Snapshot(start, None, None, (), (), (), (), (start.committee,))
    store.apply([slot])
    assert store.snapshot().slots == (slot,)


def test_a_slot_kept_twice_stays_as_it_was_and_bodies_may_follow_their_header() -> None:
    room = Room()
    slot = room.say("ann", "hello", "again")
    store = new_store(room)
    store.apply([dataclasses.replace(slot, bodies=())])
    assert store.snapshot().slots == (dataclasses.replace(slot, bodies=()),)
    room.block()
    store.apply(room.history[1:])
    assert [item.data for item in store.items()] == [None, None]
    assert store.check() == []
    store.apply([slot])
    store.apply([dataclasses.replace(slot, bodies=())])
    assert [item.data for item in store.items()] == [kept.data for kept in slot.bodies]
    assert store.check() == []


def test_a_body_said_again_in_a_later_epoch_is_stored_once_and_shown_twice() -> None:
    room = Room()
    room.say("ann", "hello")
    room.admit("bob")
    room.say("ann", "hello")
    room.block()
    store = kept_by_founder(room)
    shown = [item.data[16:] for item in store.items() if item.data]
    assert shown == [b"hello", b"hello"]


def queued(store: Store) -> list[str]:
    return [kept.data[16:].decode() for kept in store.snapshot().queue]


def test_what_was_said_earlier_goes_to_the_front_of_the_queue_in_its_order() -> None:
    store = new_store(Room())
    store.apply([Enqueue(body("c")), Enqueue(body("d"))])
    store.apply([Enqueue(body("a"), front=True), Enqueue(body("b"), front=True), Enqueue(body("e"))])
    assert queued(store) == ["a", "b", "c", "d", "e"]
    store.apply([Enqueue(body("y"), front=True), Enqueue(body("z"), front=True)])
    assert queued(store) == ["y", "z", "a", "b", "c", "d", "e"]
    store.apply([Dequeue(body(text).data[:16]) for text in "yabc"])
    assert queued(store) == ["z", "d", "e"]


def test_a_body_stands_in_the_queue_once() -> None:
    store = new_store(Room())
    store.apply([Enqueue(body("a")), Enqueue(body("b")), Enqueue(body("a"))])
    assert queued(store) == ["a", "b"]
    store.apply([Enqueue(body("b"), front=True)])
    assert queued(store) == ["b", "a"]


def test_the_queue_gives_back_the_salt_it_was_given() -> None:
    store = new_store(Room())
    said = Body(seed("other salt"), seed("uuid")[:16] + b"x")
    store.apply([Enqueue(said)])
    assert store.snapshot().queue == (said,)


def test_a_journal_entry_replaces_the_one_under_its_key_and_prefixes_are_forgotten() -> None:
    store = new_store(Room())
    store.apply(
        [Journal("vote/7/1", b"a"), Journal("vote/7/2", b"b"), Journal("vote/70", b"c"), Journal("ack", b"d")]
    )
    store.apply([Journal("vote/7/1", b"A")])
    assert store.snapshot().journal == (
        ("ack", b"d"),
        ("vote/7/1", b"A"),
        ("vote/7/2", b"b"),
        ("vote/70", b"c"),
    )
    store.apply([Forget("vote/7/"), Forget("%")])
    assert store.snapshot().journal == (("ack", b"d"), ("vote/70", b"c"))


def test_evidence_is_kept_once_in_the_order_it_was_found() -> None:
    store = new_store(Room())
    one = KeepEvidence(MemberId(seed("a")), VoteKey(seed("k")), "slot", b"1")
    two = KeepEvidence(MemberId(seed("b")), VoteKey(seed("k")), "ack", b"3")
    store.apply([one, two])
    store.apply([one])
    assert store.evidence() == [one, two]


def test_a_losing_branch_of_a_fork_stays_out_of_the_way() -> None:
    room = Room()
    first = room.say("ann", "said to one")
    room._chains.clear()
    second = room.say("ann", "said to another")
    room.block()
    store = kept_by_founder(room)
    assert store.snapshot().slots == ()
    assert [item.slot for item in store.items()] == [second.id]
    assert first.id != second.id
    assert store.check() == []


def test_a_block_whose_items_are_not_those_of_its_slots_is_not_replayed() -> None:
    room = Room()
    talk(room, 2)
    slot, block = (next(r for r in room.history if isinstance(r, kind)) for kind in (KeepSlot, KeepBlock))
    wrong = Leaf(room.me, slot.id, 0, Hash(seed("another commitment")))
    store = new_store(room)
    store.apply([slot, dataclasses.replace(block, items=((0, wrong),))])
    with pytest.raises(StoreError, match="block 1: its items are not those of its slots"):
        store.snapshot()
