"""Too many lied: two certified blocks of one height stop the node, and the proof of it is kept."""

from pathlib import Path

import msgspec

from chain.block import Certificate, block_checkpoint
from chain.case import FORK
from chain.crypto import Ed25519Signer
from chain.ids import MemberId
from chain.message import Committed, pack
from node.disk import identity_of, open_store, vote_key_of
from node.errors import Exit
from node.events import ErrorEvent, EvidenceEvent
from node.verdict import judge
from tests.node.rooms import Person, room_of


def contradicting(ann: Person, bob: Person, height: int) -> Committed:
    """Another block of this height, signed by both members of a room of two."""
    store = open_store(ann.home, ann.room.fingerprint, read_only=True)
    (committed, *_) = store.blocks_from(height, limit=1)
    room, committee = store.room, store.snapshot().tip.committee
    store.close()
    assert isinstance(committed, Committed)
    leaders = {member.identity for member in committee.members} - {committed.block.leader}
    block = msgspec.structs.replace(committed.block, leader=leaders.pop())
    text = block_checkpoint(block, room=room, round_=0)
    signatures = []
    for person in (ann, bob):
        place = committee.place(MemberId(bytes(identity_of(person.home).verify_key)))
        assert place is not None
        key = vote_key_of(person.home, person.room.fingerprint)
        signatures.append((place, Ed25519Signer(bytes(key)).sign(text)))
    return Committed(block, Certificate(0, tuple(sorted(signatures))))


async def test_two_certified_blocks_stop_the_node_and_name_the_keys_that_made_them_possible(
    tmp_path: Path,
) -> None:
    async with room_of(tmp_path, "ann", "bob") as (ann, bob):
        final = await ann.says("one")
        await bob.hears("one")
        other = contradicting(ann, bob, final.height)
        me = MemberId(bytes(identity_of(ann.home).verify_key))
        for envelope in pack([other]):
            bob.node._mesh.send(me, envelope)
        error = await ann.told.wait(ErrorEvent)
        assert error.code == Exit.BYZANTINE
        fork = await ann.told.wait(EvidenceEvent, lambda event: event.kind == FORK)
        verdict = judge(Path(fork.file).read_bytes(), room=ann.room.fingerprint)
        assert (verdict.exit, verdict.kind) == (Exit.DONE, FORK)
        assert "ann" in verdict.reason and "bob" in verdict.reason
        assert any("contradict each other" in note for note in (await ann.node.status()).notes)
