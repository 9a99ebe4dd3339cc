"""The handshake proves both identities for one DTLS session, or fails; tampering never does more."""

import dataclasses
import hashlib
from collections import deque
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from signaling.handshake import Binding, Effect, Failed, Handshake, Proven, Role, Send, safety_words

ANN, BOB, EVE = (SigningKey(hashlib.sha256(name).digest()) for name in (b"ann", b"bob", b"eve"))
ANN_ID, BOB_ID, EVE_ID = (bytes(key.verify_key) for key in (ANN, BOB, EVE))
BINDING = Binding(
    offerer=ANN_ID, answerer=BOB_ID, offer_hash=b"o" * 32, answer_hash=b"a" * 32, exporter=b"x" * 32
)
Tamper = Callable[[bytes], bytes]


def ann(binding: Binding = BINDING, *, guest: bool = False) -> Handshake:
    return Handshake(key=ANN, role=Role.OFFERER, binding=binding, nonce=b"1" * 32, guest=guest)


def bob(
    binding: Binding = BINDING, *, key: SigningKey = BOB, role: Role = Role.ANSWERER, guest: bool = False
) -> Handshake:
    return Handshake(key=key, role=role, binding=binding, nonce=b"2" * 32, guest=guest)


def play(left: Handshake, right: Handshake, *, tamper: Tamper = bytes) -> tuple[Effect, Effect]:
    """Run both to their end; `tamper` alters what goes to the left. Returns the last effect of each."""
    last: list[Effect] = [Failed("nothing"), Failed("nothing")]
    queue: deque[tuple[int, Effect]] = deque()
    queue.extend((0, effect) for effect in left.start())
    queue.extend((1, effect) for effect in right.start())
    while queue:
        side, effect = queue.popleft()
        if not isinstance(effect, Send):
            last[side] = effect
            continue
        target, message = (right, effect.message) if side == 0 else (left, tamper(effect.message))
        if isinstance(last[1 - side], Proven):
            continue
        queue.extend((1 - side, answer) for answer in target.receive(message))
    return last[0], last[1]


def test_both_sides_prove_themselves_and_see_the_same_four_words() -> None:
    left, right = play(ann(), bob())
    assert isinstance(left, Proven)
    assert isinstance(right, Proven)
    assert (left.peer, right.peer) == (BOB_ID, ANN_ID)
    assert left.words == right.words == safety_words(ANN_ID + BOB_ID, b"1" * 32 + b"2" * 32)


@pytest.mark.parametrize("guests", [(False, False), (False, True), (True, False), (True, True)])
def test_each_side_is_told_whether_the_other_comes_as_a_guest(guests: tuple[bool, bool]) -> None:
    left, right = play(ann(guest=guests[0]), bob(guest=guests[1]))
    assert isinstance(left, Proven)
    assert isinstance(right, Proven)
    assert (right.guest, left.guest) == guests


@pytest.mark.parametrize("guest", [False, True])
@pytest.mark.parametrize("bit", range(8))
def test_nobody_in_between_makes_a_member_of_a_guest_nor_a_guest_of_a_member(guest: bool, bit: int) -> None:
    def alter(message: bytes) -> bytes:
        return message[:2] + bytes((message[2] ^ 1 << bit,)) + message[3:] if message[0] == 0xC2 else message

    left, _right = play(ann(), bob(guest=guest), tamper=alter)
    assert isinstance(left, Failed)


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Binding)])
def test_one_side_seeing_another_session_room_or_description_makes_both_fail(field: str) -> None:
    if field == "answerer":
        other = dataclasses.replace(BINDING, answerer=EVE_ID)
        assert all(isinstance(end, Failed) for end in play(ann(other), bob()))
    elif field == "offerer":
        other = dataclasses.replace(BINDING, offerer=EVE_ID)
        assert all(isinstance(end, Failed) for end in play(ann(), bob(other)))
    else:
        other = dataclasses.replace(BINDING, **{field: b"?" * 32})
        assert all(isinstance(end, Failed) for end in play(ann(), bob(other)))


def test_a_stranger_cannot_stand_in_for_the_answerer() -> None:
    machine = ann()
    machine.start()
    impostor = Handshake(
        key=EVE,
        role=Role.ANSWERER,
        binding=dataclasses.replace(BINDING, answerer=EVE_ID),
        nonce=b"3" * 32,
    )
    (commit,) = impostor.start()
    assert isinstance(commit, Send)
    (reveal,) = machine.receive(commit.message)
    assert isinstance(reveal, Send)
    (proof,) = impostor.receive(machine_commitment())
    assert isinstance(proof, Send)
    assert [type(effect) for effect in machine.receive(proof.message)] == [Failed]


def machine_commitment() -> bytes:
    (commit,) = ann().start()
    assert isinstance(commit, Send)
    return commit.message


def test_our_own_messages_sent_back_fail() -> None:
    machine = ann()
    (commit,) = machine.start()
    assert isinstance(commit, Send)
    assert machine.receive(commit.message) == [Failed("our own commitment came back")]


def test_a_proof_for_one_role_does_not_serve_for_the_other() -> None:
    swapped = dataclasses.replace(BINDING, offerer=BOB_ID, answerer=ANN_ID)
    left, right = play(ann(), bob(swapped, role=Role.OFFERER))
    assert isinstance(left, Failed)
    assert isinstance(right, Failed)


def test_a_replayed_handshake_fails_in_another_session() -> None:
    recorded: list[bytes] = []

    def record(message: bytes) -> bytes:
        recorded.append(message)
        return message

    play(ann(), bob(), tamper=record)
    again = ann(dataclasses.replace(BINDING, exporter=b"y" * 32))
    again.start()
    effects = [effect for message in recorded for effect in again.receive(message)]
    assert isinstance(effects[-1], Failed)


def test_linking_to_oneself_fails_at_once() -> None:
    mirror = dataclasses.replace(BINDING, answerer=ANN_ID)
    assert ann(mirror).start() == [Failed("the peer claims our own identity")]


def test_every_flipped_bit_makes_our_side_fail() -> None:
    for at in range((34 + 99) * 8):

        def flip(message: bytes, at: int = at) -> bytes:
            first = len(message) == 34
            bit = at if first else at - 34 * 8
            if not 0 <= bit < len(message) * 8 or first != (at < 34 * 8):
                return message
            altered = bytearray(message)
            altered[bit // 8] ^= 1 << bit % 8
            return bytes(altered)

        left, _right = play(ann(), bob(), tamper=flip)
        assert isinstance(left, Failed), at


def test_after_failing_it_stays_failed_and_silent() -> None:
    machine = ann()
    machine.start()
    assert [type(effect) for effect in machine.receive(b"")] == [Failed]
    assert machine.receive(b"anything") == []


@given(st.lists(st.binary(max_size=120), min_size=1, max_size=3))
def test_no_bytes_of_an_attacker_do_more_than_fail(messages: list[bytes]) -> None:
    machine = ann()
    machine.start()
    effects = [effect for message in messages for effect in machine.receive(message)]
    assert not any(isinstance(effect, Proven) for effect in effects)
