"""The first messages on an open channel: run the handshake, give out a Link or say why not."""

import secrets
from collections import Counter
from typing import Final, assert_never

import trio
from nacl.signing import SigningKey

from node.errors import ConnectFailed
from node.link import Link
from node.webrtc import Connection
from signaling.description import Answer, Offer
from signaling.handshake import Binding, Failed, Handshake, Proven, Role, Send

_DEADLINE: Final = 10.0


async def greet(
    connection: Connection, *, key: SigningKey, offer: Offer, answer: Answer, faults: Counter[str]
) -> Link:
    """Prove ourselves to the other end of this session and have it prove itself, or ConnectFailed."""
    binding = Binding(
        offerer=offer.sender,
        answerer=answer.sender,
        offer_hash=offer.hash,
        answer_hash=answer.hash,
        exporter=connection.exporter(),
    )
    machine = Handshake(key=key, role=connection.role, binding=binding, nonce=secrets.token_bytes(32))
    effects = machine.start()
    with trio.move_on_after(_DEADLINE):
        while True:
            for effect in effects:
                match effect:
                    case Send(message):
                        await connection.send(message)
                    case Failed(reason):
                        faults["handshake: failed"] += 1
                        raise ConnectFailed(
                            f"The other end is not who it says: {reason}.", "Do not trust this carrier."
                        )
                    case Proven(peer, words):
                        initiator = connection.role is Role.OFFERER
                        return Link(connection, peer=peer, words=words, initiator=initiator, faults=faults)
                    case _:
                        assert_never(effect)
            effects = machine.receive(await connection.receive())
    raise ConnectFailed("The other end never proved who it is.", "Try again.")
