"""What a store finds though every checksum in it is right: somebody wrote it anew who knows how."""

from pathlib import Path

import pytest

from chain.block import Body
from chain.codec import encode
from chain.crypto import ed25519_verify
from chain.errors import StoreError
from chain.records import KeepSlot
from chain.store import Store
from chain.store_check import check_store
from chain.store_rows import BODY_HERE
from tests.chain.drawing import grown_room
from tests.chain.test_store import merged


def test_a_body_rewritten_with_its_checksum_does_not_match_its_commitment(tmp_path: Path) -> None:
    room = grown_room(nicks=["bob"], blocks=2)
    path = tmp_path / "store"
    store = Store.create(path, genesis=room.genesis, me=room.me, verify=ed25519_verify)
    for batch in merged(room.history):
        store.apply(batch)
    kept = next(record for record in room.history if isinstance(record, KeepSlot) and record.bodies)
    other = Body(kept.bodies[0].salt, kept.bodies[0].data[:16] + b"never said")
    store._rows.put("bodies", kept.slot.commitments[0], BODY_HERE, encode(other))
    store.close()
    problems = check_store(path, verify=ed25519_verify)
    assert [problem.where for problem in problems] == ["bodies"]
    with pytest.raises(StoreError, match="does not match its commitment"):
        Store.open(path, verify=ed25519_verify)
