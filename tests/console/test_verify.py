"""`verify --store`: sound, sound with evidence of lies, and not to be checked are three exit codes."""

import json
from pathlib import Path

import pytest

from chain.ids import MemberId, VoteKey
from chain.records import KeepEvidence
from console.settings import Settings
from console.verify import verify_store
from node.config import Home, RoomConfig
from node.disk import open_store
from node.errors import Exit, NodeError
from node.node import create_room


async def new_room(home: Path) -> RoomConfig:
    return await create_room(Home.at(home), name="tea", nick="ann", via=())


def verdicts(capfd: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    return [json.loads(line) for line in capfd.readouterr().out.splitlines()]


async def test_a_sound_record_that_holds_evidence_is_told_by_the_exit_code(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    room = await new_room(tmp_path)
    settings = Settings(home=tmp_path, json=True)
    assert await verify_store(settings, path=None) == Exit.DONE
    store = open_store(Home.at(tmp_path), room.fingerprint)
    store.apply([KeepEvidence(MemberId(b"m" * 32), VoteKey(b"k" * 32), "slot", b"evidence")])
    store.close()
    assert await verify_store(settings, path=None) == Exit.BYZANTINE == 7
    sound, with_evidence = verdicts(capfd)
    assert sound["ok"] and with_evidence["ok"]
    assert "1 piece of evidence" in str(with_evidence["reason"])
    assert with_evidence["room"] == room.fingerprint


async def test_no_room_or_no_store_is_never_mixed_with_an_altered_one(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, json=True)
    with pytest.raises(NodeError) as no_room:
        await verify_store(settings, path=None)
    await new_room(tmp_path)
    with pytest.raises(NodeError) as no_store:
        await verify_store(settings, path=tmp_path / "nothing")
    assert no_room.value.exit_code == no_store.value.exit_code == Exit.COULD_NOT_CHECK == 8
