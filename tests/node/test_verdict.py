"""Files judged by a stranger: each exit code, and words that say what a key signed and never who lied."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from chain.case import FORK, Fork, reference
from chain.control import Anchor
from chain.ids import BlockId
from node.errors import Exit, NodeError, UsageError
from node.verdict import judge, read_file
from tests.chain.drawing import seed
from tests.chain.offences import Offences

GUILTY = 2


@pytest.fixture(scope="module")
def offences() -> Offences:
    return Offences()


def case_of(offences: Offences, kind: str = "two slots for one place") -> bytes:
    return offences.case(offences.every_kind()[kind](GUILTY))


@pytest.mark.parametrize("kind", Offences().every_kind())
def test_what_holds_is_said_of_a_key_and_not_of_a_person(offences: Offences, kind: str) -> None:
    member = offences.committee.members[GUILTY]
    verdict = judge(case_of(offences, kind), room=offences.room.id.hex())
    assert (verdict.exit, verdict.ok, verdict.kind) == (Exit.DONE, True, kind)
    assert (verdict.member, verdict.nick) == (member.identity.hex(), member.nick)
    assert f"The key of {member.nick}" in verdict.reason
    assert "not who lied: a restored backup looks the same" in verdict.reason
    assert "rests on one key" in verdict.reason


def test_an_anchor_is_what_the_verdict_then_rests_on(offences: Offences) -> None:
    final = offences.finals()[-1].block
    anchor = Anchor(final.height, final.id(offences.room.id))
    assert "the anchor leads to" in judge(case_of(offences), room=reference(offences.room.id, anchor)).reason
    for other in (Anchor(final.height, BlockId(seed("other"))), Anchor(final.height + 1, anchor.block)):
        verdict = judge(case_of(offences), room=reference(offences.room.id, other))
        assert (verdict.exit, verdict.ok) == (Exit.MISMATCH, False)


def test_another_room_and_no_room_are_told_apart_and_are_no_yes(offences: Offences) -> None:
    other = judge(case_of(offences), room="ab" * 32)
    assert (other.exit, other.ok) == (Exit.MISMATCH, False)
    unasked = judge(case_of(offences), room=None)
    assert (unasked.exit, unasked.ok) == (Exit.COULD_NOT_CHECK, False)
    assert "agrees with itself" in unasked.reason


@pytest.mark.parametrize(
    "room", ["tea", "ab", "ab" * 33, "ab" * 32 + ":7", "ab" * 32 + ":x:" + "cd" * 32, ""]
)
def test_what_names_no_room_is_a_wrong_command_line(offences: Offences, room: str) -> None:
    with pytest.raises(UsageError):
        judge(case_of(offences), room=room)


def test_every_changed_character_is_noticed_and_never_a_yes(offences: Offences) -> None:
    sound, room = case_of(offences), offences.room.id.hex()
    codes = set()
    for at in range(0, len(sound), 97):
        changed = sound[:at] + bytes([sound[at] ^ 1]) + sound[at + 1 :]
        if json_of(changed) != json_of(sound):  # white space says nothing
            codes.add(judge(changed, room=room).exit)
    assert codes <= {Exit.NO, Exit.COULD_NOT_CHECK}
    assert Exit.NO in codes


def json_of(data: bytes) -> object:
    try:
        return json.loads(data)
    except ValueError:
        return None


def test_a_word_or_the_proof_that_was_changed_is_an_alteration(offences: Offences) -> None:
    said = json.loads(case_of(offences))
    for field, value in [
        ("kind", "two acks of one number"),
        ("proof", said["proof"][:-8]),
        ("proof", said["proof"][4:]),
        ("accused", []),
    ]:
        changed = json.dumps({**said, field: value}).encode()
        assert judge(changed, room=offences.room.id.hex()).exit is Exit.NO, field


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff\xfe", b'{"pigeon": "proof", "v": 1}', b"[" * 100_000])
def test_what_is_no_file_of_ours_could_not_be_checked(data: bytes) -> None:
    assert judge(data, room="ab" * 32).exit is Exit.COULD_NOT_CHECK


def test_a_newer_version_could_not_be_checked_and_is_named(offences: Offences) -> None:
    newer = judge(b'{"pigeon": "evidence", "v": 2, "new": []}', room="ab" * 32)
    assert newer.exit is Exit.COULD_NOT_CHECK
    assert "another version" in newer.reason


def test_two_certified_blocks_name_the_keys_that_made_them_possible(offences: Offences) -> None:
    one = offences.certified(offences.block(1), signers=range(3))
    other = offences.certified(offences.block(2), signers=range(1, 4))
    data = offences.case(Fork(one, other))
    verdict = judge(data, room=offences.room.id.hex())
    assert (verdict.exit, verdict.kind) == (Exit.DONE, FORK)
    assert "contradict each other" in verdict.reason
    assert all(offences.committee.members[place].nick in verdict.reason for place in (1, 2))


def test_a_file_that_cannot_be_read_is_an_error_that_names_it(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nothing"):
        with pytest.raises(NodeError, match=str(path)) as refused:
            read_file(path)
        assert refused.value.exit_code is Exit.COULD_NOT_CHECK


def test_checking_a_file_opens_no_home_and_loads_nothing_that_makes_links(
    offences: Offences, tmp_path: Path
) -> None:
    (tmp_path / "case.json").write_bytes(case_of(offences))
    program = (
        "import sys, cli\n"
        f"sys.argv = ['pigeon', 'verify', 'case.json', '--room', '{offences.room.id.hex()}']\n"
        "try: cli.main()\n"
        "except SystemExit as end: print(end.code, {'aiortc', 'av', 'sqlite3'} & sys.modules.keys())\n"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", program],
        cwd=tmp_path,
        env={"HOME": str(tmp_path / "nobody")},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "0 set()"
    assert done.stdout.startswith("ok  The key of ")
    assert [each.name for each in tmp_path.iterdir()] == ["case.json"]
