"""The first messages on an open channel: both prove who they are, a newcomer is seen in; then: a Link."""

import secrets
from collections import Counter
from typing import Final, assert_never

import trio
from nacl.signing import SigningKey

from node.errors import ConnectFailed
from node.link import Link
from node.reception import Meeting, Reception
from node.webrtc import Connection
from signaling.description import Answer, Offer
from signaling.handshake import Binding, Failed, Handshake, Proven, Role, Send

_DEADLINE: Final = 10.0


async def greet(
    connection: Connection,
    *,
    key: SigningKey,
    offer: Offer,
    answer: Answer,
    faults: Counter[str],
    reception: Reception | None = None,
) -> Link:
    """Have both ends prove who they are, and a newcomer seen in, be it the other or us; ConnectFailed.

    Without `reception` we are a member of a room without a password.
    """
    here = reception if reception is not None else Reception()
    me, coming = bytes(key.verify_key), here.is_guest()
    binding = Binding(
        offerer=offer.sender,
        answerer=answer.sender,
        offer_hash=offer.hash,
        answer_hash=answer.hash,
        exporter=connection.exporter(),
    )
    machine = Handshake(
        key=key, role=connection.role, binding=binding, nonce=secrets.token_bytes(32), guest=coming
    )
    proven = await _prove(connection, machine, faults)
    match coming, proven.guest:
        case True, False:
            await here.guest.arrive(
                Meeting(talk=connection, session=binding.digest(), guest=me, host=proven.peer, offer=offer)
            )
        case False, True:
            await here.host.receive(
                Meeting(talk=connection, session=binding.digest(), guest=proven.peer, host=me, offer=offer)
            )
        case False, False:
            here.host.check_no_guest(proven.peer)
        case _:  # two newcomers: neither has anything to guard
            pass
    initiator = connection.role is Role.OFFERER
    return Link(connection, peer=proven.peer, words=proven.words, initiator=initiator, faults=faults)


async def _prove(connection: Connection, machine: Handshake, faults: Counter[str]) -> Proven:
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
                    case Proven():
                        return effect
                    case _:
                        assert_never(effect)
            effects = machine.receive(await connection.receive())
    raise ConnectFailed("The other end never proved who it is.", "Try again.")
