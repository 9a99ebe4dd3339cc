"""The checks of `make crash` can fail: each broken promise, made up, is found."""

import os
from pathlib import Path
from typing import Any

import pytest

from chain.block import Slot
from chain.codec import encode
from chain.crypto import Ed25519Signer
from chain.message import UNSIGNED, Prevote, signed
from chain.records import KeepSlot
from tests.chain.drawing import Room, body, seed
from tests.crash.deadly import Witness
from tests.crash.hatch import CrashFailed
from tests.crash.promises import Home, Tally, one_order, records_of


class Said:
    """A process that ended, and what it had said."""

    def __init__(self, *events: dict[str, Any], code: int = 0) -> None:
        self.events = list(events)
        self.code = code

    def shown(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["event"] == kind]

    def complaints(self) -> str:
        return "it complained"


class Script:
    """A hatch whose processes say what they are told to."""

    def __init__(self, directory: Path, *logs: list[dict[str, Any]]) -> None:
        self.directory = directory
        self.logs = list(logs)

    def run(self, _name: str, *_arguments: str) -> Said:
        return Said(*self.logs.pop(0))

    def witness(self, name: str) -> Path:
        return self.directory / f"{name}.witness"


def final(index: int, text: str, *, id: str = "") -> dict[str, Any]:
    return {"event": "final", "index": index, "id": id or text, "text": text}


def home(directory: Path, *logs: list[dict[str, Any]]) -> Home:
    return Home(Script(directory, *logs), directory, "ann", lobby=directory)  # type: ignore[arg-type]


def test_a_home_that_keeps_its_promises_is_counted(tmp_path: Path) -> None:
    ann, tally = home(tmp_path, [final(0, "a"), final(1, "b")]), Tally()
    ann.watch(Said({"event": "pending", "id": "b"}, final(0, "a")))  # type: ignore[arg-type]
    ann.keeps_everything(tally)
    assert tally.checked == {"pending": 1, "final": 1}


def test_a_pending_message_that_is_in_no_log_is_lost(tmp_path: Path) -> None:
    ann = home(tmp_path, [final(0, "a")])
    ann.watch(Said({"event": "pending", "id": "b"}))  # type: ignore[arg-type]
    with pytest.raises(CrashFailed, match="1 pending messages are lost"):
        ann.keeps_everything(Tally())


@pytest.mark.parametrize("log", [[], [final(1, "a")], [final(0, "other", id="a")]])
def test_a_final_message_that_moved_or_changed_is_found(tmp_path: Path, log: list[dict[str, Any]]) -> None:
    ann = home(tmp_path, log)
    ann.watch(Said(final(0, "a")))  # type: ignore[arg-type]
    with pytest.raises(CrashFailed, match="lost or changed"):
        ann.log()


def test_a_log_that_does_not_continue_or_says_a_thing_twice_is_found(tmp_path: Path) -> None:
    ann = home(tmp_path, [final(0, "a")], [final(0, "b")])
    ann.log()
    with pytest.raises(CrashFailed, match="does not continue"):
        ann.log()
    with pytest.raises(CrashFailed, match="stands in the log twice"):
        home(tmp_path, [final(0, "a"), final(1, "a")]).log()


def test_members_whose_logs_differ_are_found(tmp_path: Path) -> None:
    one, two = [final(0, "a"), final(1, "b")], [final(0, "a")]
    one_order([home(tmp_path, one), home(tmp_path, two)])
    with pytest.raises(CrashFailed, match="contradicts"):
        one_order([home(tmp_path, one), home(tmp_path, [final(0, "b")])])


def test_a_process_that_ended_by_itself_with_an_error_was_not_killed(tmp_path: Path) -> None:
    with pytest.raises(CrashFailed, match="it ended with 8"):
        home(tmp_path).note_kill(Tally(), "story", Said(code=8))  # type: ignore[arg-type]


KEY = Ed25519Signer(seed("vote", "ann"))
ROOM = Room()


def vote(block: bytes) -> Prevote:
    return Prevote(0, 1, 0, 0, block, seed("why"), UNSIGNED)  # type: ignore[arg-type]


def sign(witness: Witness, text: bytes) -> None:
    witness.signed(KEY.public, text, KEY.sign(text))


def test_two_votes_for_one_position_are_found_across_processes(tmp_path: Path) -> None:
    ann = home(tmp_path)
    for block in (seed("one"), seed("one"), seed("two")):
        witness = Witness(ann.hatch.witness("ann"))
        sign(witness, vote(block).preimage(ROOM.id))
        witness.committed()
        os.close(witness._file)
        if block == seed("one"):
            ann.signed_once(Tally())
    with pytest.raises(CrashFailed, match="signed two different things"):
        ann.signed_once(Tally())


def test_two_slots_of_one_place_are_found(tmp_path: Path) -> None:
    ann = home(tmp_path)
    witness = Witness(ann.hatch.witness("ann"))
    for text in ("one", "two"):
        kept = a_slot(text)
        witness.about_to_keep([kept])
        sign(witness, kept.slot.preimage(ROOM.id))
        witness.committed()
    with pytest.raises(CrashFailed, match="signed two different things at slot"):
        ann.signed_once(Tally())


def a_slot(text: str) -> KeepSlot:
    commitment = body(text).commitment(room=ROOM.id, author=ROOM.me)
    slot = Slot(0, 0, 1, ROOM.tip.cut[0].id, (), (), (commitment,), 5, UNSIGNED)
    slot = signed(slot, room=ROOM.id, key=KEY)
    assert len(encode(slot)) > 64
    return KeepSlot(slot.id(ROOM.id), slot, (body(text),))


def test_what_leaves_before_it_is_kept_is_found(tmp_path: Path) -> None:
    ann = home(tmp_path)
    witness = Witness(ann.hatch.witness("ann"))
    kept = signed(vote(seed("one")), room=ROOM.id, key=KEY)
    sign(witness, kept.preimage(ROOM.id))
    witness.leaves(b"an envelope" + encode(kept))
    with pytest.raises(CrashFailed, match="left before it was on disk"):
        ann.signed_once(Tally())
    assert [kind for kind, *_ in records_of(ann.hatch.witness("ann"))] == ["unsynced"]


def test_what_was_signed_and_never_kept_may_be_signed_otherwise(tmp_path: Path) -> None:
    ann, tally = home(tmp_path), Tally()
    sign(Witness(ann.hatch.witness("ann")), vote(seed("one")).preimage(ROOM.id))
    witness = Witness(ann.hatch.witness("ann"))
    sign(witness, vote(seed("two")).preimage(ROOM.id))
    witness.committed()
    ann.signed_once(tally)
    assert tally.checked["positions"] == 1
