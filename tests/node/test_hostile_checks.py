"""Checks by somebody who holds an open offer and keeps no rule: whom it is meant for still gets in."""

import socket
import time
from pathlib import Path

import pytest
import trio
from aioice import stun
from nacl.signing import SigningKey

from node.node import read_invitation
from signaling.description import Offer, make_answer
from tests.node.rooms import DEADLINE
from tests.node.test_open_offers import by_hand, inviting


def check(offer: Offer, *, name: str, **attributes: int) -> stun.Message:
    """One that holds the offer's password."""
    request = stun.Message(message_method=stun.Method.BINDING, message_class=stun.Class.REQUEST)
    request.attributes["USERNAME"] = f"{offer.transport.ufrag}:{name}"
    request.attributes |= {each.replace("_", "-"): value for each, value in attributes.items()}
    request.add_message_integrity(offer.transport.pwd.encode())
    return request


async def is_answered(offer: Offer, request: stun.Message) -> bool:
    """Whether anything comes back for this one, before what follows it is refused."""
    [candidate] = offer.candidates
    nothing = stun.Message(message_method=stun.Method.BINDING, message_class=stun.Class.REQUEST)
    with trio.socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock, trio.fail_after(DEADLINE):
        for each in (request, nothing):
            await sock.sendto(bytes(each), (candidate.address, candidate.port))
        first = stun.parse_message(await sock.recv(2048))
    assert first.transaction_id in (request.transaction_id, nothing.transaction_id)
    return first.transaction_id == request.transaction_id


def of(token: str) -> Offer:
    offer = read_invitation(token)
    assert isinstance(offer, Offer)
    return offer


def a_name(offer: Offer) -> str:
    """Of somebody who has a good answer, and will not come."""
    answer = make_answer(
        key=SigningKey.generate(),
        offer=offer,
        issued=int(time.time()),
        fingerprint=b"f" * 32,
        candidates=offer.candidates,
    )
    return answer.transport.ufrag


@pytest.mark.parametrize(
    "attributes",
    [{}, {"ICE_CONTROLLED": 1}, {"ICE_CONTROLLING": 2**64 - 1}],
    ids=["no role", "ours", "the wrong one"],
)
async def test_who_holds_the_offer_and_has_no_answer_is_not_answered_and_changes_nothing(
    tmp_path: Path, attributes: dict[str, int]
) -> None:
    async with inviting(tmp_path) as (_, invite):
        offer = of(invite.token)
        assert not await is_answered(offer, check(offer, name="somebody", PRIORITY=1, **attributes))
        async with by_hand(tmp_path, "bob").joining(invite.token) as bob:
            await bob.admitted()


async def test_a_check_that_lacks_what_every_check_has_does_not_use_the_offer_up(tmp_path: Path) -> None:
    async with inviting(tmp_path) as (_, invite):
        offer = of(invite.token)
        assert not await is_answered(offer, check(offer, name=a_name(offer), ICE_CONTROLLED=1))
        async with by_hand(tmp_path, "bob").joining(invite.token) as bob:
            await bob.admitted()
