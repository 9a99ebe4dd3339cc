"""The names of things: 32-byte identifiers that the type checker keeps apart and the decoder measures."""

from typing import Annotated, NewType

import msgspec

HASH_SIZE = 32
SIGNATURE_SIZE = 64

_exactly_32 = msgspec.Meta(min_length=HASH_SIZE, max_length=HASH_SIZE)
_exactly_64 = msgspec.Meta(min_length=SIGNATURE_SIZE, max_length=SIGNATURE_SIZE)

RoomId = NewType("RoomId", Annotated[bytes, _exactly_32])
"""SHA-256 of the genesis; the room's fingerprint."""
MemberId = NewType("MemberId", Annotated[bytes, _exactly_32])
"""An Ed25519 identity key: who somebody is, for life."""
VoteKey = NewType("VoteKey", Annotated[bytes, _exactly_32])
"""An Ed25519 key that signs slots, acks and votes in one room."""
SlotId = NewType("SlotId", Annotated[bytes, _exactly_32])
BlockId = NewType("BlockId", Annotated[bytes, _exactly_32])
Hash = NewType("Hash", Annotated[bytes, _exactly_32])
Signature = NewType("Signature", Annotated[bytes, _exactly_64])

NO_ROOM = RoomId(bytes(HASH_SIZE))
"""What stands for the room where there is none yet: in the genesis itself."""
