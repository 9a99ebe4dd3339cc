"""Two ends that know one password agree; whatever else is sent, replayed or reflected never makes them."""

import hashlib
from collections import deque
from collections.abc import Callable
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from signaling.errors import BadPassword
from signaling.handshake import Send
from signaling.password import Agreed, Broken, Effect, PasswordRun, Side, Wrong, stretch

RIGHT, OTHER = (hashlib.sha256(word).digest() for word in (b"open sesame", b"open barley"))
SESSION, GUEST, HOST = b"s" * 32, b"g" * 32, b"h" * 32
Q = 2**255 - 19
Tamper = Callable[[bytes], bytes]


def guest(secret: bytes = RIGHT, *, session: bytes = SESSION, host: bytes = HOST) -> PasswordRun:
    return PasswordRun(
        side=Side.GUEST, secret=secret, session=session, guest=GUEST, host=host, random=b"1" * 64
    )


def host(secret: bytes = RIGHT, *, guest: bytes = GUEST) -> PasswordRun:
    return PasswordRun(
        side=Side.HOST, secret=secret, session=SESSION, guest=guest, host=HOST, random=b"2" * 64
    )


def play(
    one: PasswordRun, other: PasswordRun, *, tamper: Tamper = bytes, from_guest: Tamper = bytes
) -> tuple[list[Effect], list[Effect]]:
    """Run a guest and a host to the end; the last effects of each, Sends left out."""
    ends: tuple[list[Effect], list[Effect]] = ([], [])
    queue: deque[tuple[int, Effect]] = deque()
    queue.extend((0, effect) for effect in one.start())
    queue.extend((1, effect) for effect in other.start())
    while queue:
        side, effect = queue.popleft()
        if not isinstance(effect, Send):
            ends[side].append(effect)
            continue
        target, alter = (other, from_guest) if side == 0 else (one, tamper)
        queue.extend((1 - side, answer) for answer in target.receive(alter(effect.message)))
    return ends


@cache
def said() -> tuple[bytes, ...]:
    """The four messages of a good run: element, element, proof, proof."""
    recorded: list[bytes] = []

    def record(message: bytes) -> bytes:
        recorded.append(message)
        return message

    play(guest(), host(), tamper=record, from_guest=record)
    assert len(recorded) == 4
    return tuple(recorded)


def at_proof(run: PasswordRun) -> PasswordRun:
    """A guest that sent its proof."""
    run.start()
    run.receive(said()[1])
    return run


def test_who_knows_the_password_is_believed_on_both_sides() -> None:
    assert play(guest(), host()) == ([Agreed()], [Agreed()])


def test_a_wrong_password_is_noticed_by_the_host_and_the_guest_hears_nothing_but_an_element() -> None:
    heard: list[bytes] = []

    def hear(message: bytes) -> bytes:
        heard.append(message)
        return message

    assert play(guest(OTHER), host(), tamper=hear) == ([], [Wrong()])
    assert [(message[0], len(message)) for message in heard] == [(0xC4, 34)]


def test_a_host_that_does_not_know_the_password_convinces_no_guest() -> None:
    run = at_proof(guest())
    assert run.receive(b"\xc5\x01" + bytes(32)) == [Wrong()]
    assert play(guest(), host(OTHER)) == ([], [Wrong()])


@pytest.mark.parametrize("pair", ["session", "guest", "host"])
def test_another_session_or_identity_at_the_other_end_is_a_wrong_guess(pair: str) -> None:
    ends = {
        "session": lambda: play(guest(session=b"?" * 32), host()),
        "guest": lambda: play(guest(), host(guest=b"?" * 32)),
        "host": lambda: play(guest(host=b"?" * 32), host()),
    }[pair]()
    assert ends == ([], [Wrong()])


def test_before_the_guest_commits_to_its_guess_there_is_nothing_to_try_a_dictionary_on() -> None:
    """One blinded point each, and no function of the key, which is what a guess could be compared with."""
    assert [message[0] for message in said()] == [0xC4, 0xC4, 0xC5, 0xC5]
    assert host().start() == []
    (under_one,), (under_other,) = guest(RIGHT).start(), guest(OTHER).start()
    assert under_one != under_other, "one scalar, two passwords: without the blinding it would be one point"


@pytest.mark.parametrize("which", range(4))
def test_every_flipped_bit_of_every_message_ends_the_run(which: int) -> None:
    for bit in range(34 * 8):
        altered = bytearray(said()[which])
        altered[bit // 8] ^= 1 << bit % 8
        if which == 0:
            run = host()
            run.start()
            effects = run.receive(bytes(altered))
            # A point that is another good one: then the proof does not hold.
            if isinstance(effects[0], Send):
                effects = run.receive(said()[2])
        elif which == 1:
            run = guest()
            run.start()
            effects = run.receive(bytes(altered))
            if isinstance(effects[0], Send):
                assert effects != [Send(said()[2])]
                effects = run.receive(said()[3])
        elif which == 2:
            run = host()
            run.start()
            run.receive(said()[0])
            effects = run.receive(bytes(altered))
        else:
            effects = at_proof(guest()).receive(bytes(altered))
        assert len(effects) == 1, bit
        assert isinstance(effects[0], Wrong | Broken), bit


@pytest.mark.parametrize("size", [0, 1, 2, 33, 35, 60_000])
def test_a_cut_or_longer_message_breaks_the_run(size: int) -> None:
    for position in range(4):
        message = (said()[position] * 2000)[:size]
        run = host() if position in (0, 2) else guest()
        run.start()
        if position >= 2:
            run.receive(said()[position - 2])
        assert [type(effect) for effect in run.receive(message)] == [Broken]


def encoded(y: int, *, sign: int = 0) -> bytes:
    return (y | sign << 255).to_bytes(32, "little")


@pytest.mark.parametrize(
    "point",
    [
        encoded(1),  # the neutral element
        encoded(1, sign=1),  # two more spellings of it, which the library lets pass
        encoded(Q + 1),
        encoded(Q - 1),  # order 2
        encoded(0),  # order 4
        encoded(0, sign=1),
        encoded(Q),
        bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"),  # order 8
        bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
        encoded(2),  # not on the curve
        b"\xff" * 32,
    ],
)
@pytest.mark.parametrize("side", Side)
def test_points_that_are_no_honest_element_are_refused_before_anything_is_computed(
    point: bytes, side: Side
) -> None:
    run = guest() if side is Side.GUEST else host()
    run.start()
    assert run.receive(b"\xc4\x01" + point) == [Broken("not a point of the group")]


def test_a_good_point_with_a_small_one_added_is_refused() -> None:
    from spake2.ed25519_basic import Base, bytes_to_unknown_group_element

    mixed = Base.add(bytes_to_unknown_group_element(encoded(Q - 1))).to_bytes()
    run = host()
    run.start()
    assert run.receive(b"\xc4\x01" + mixed) == [Broken("not a point of the group")]


def test_our_own_messages_sent_back_are_no_answer() -> None:
    run = guest()
    (element,) = run.start()
    assert isinstance(element, Send)
    assert run.receive(element.message) == [Broken("our own element came back")]
    run = guest()
    run.start()
    (proof,) = run.receive(said()[1])
    assert isinstance(proof, Send)
    assert run.receive(proof.message) == [Wrong()]


def test_a_recorded_guest_is_nobody_in_another_run() -> None:
    again = PasswordRun(
        side=Side.HOST, secret=RIGHT, session=SESSION, guest=GUEST, host=HOST, random=b"3" * 64
    )
    again.start()
    again.receive(said()[0])
    assert again.receive(said()[2]) == [Wrong()]


def test_messages_out_of_their_turn_break_the_run() -> None:
    run = host()
    run.start()
    assert run.receive(said()[2]) == [Broken("not an element")]
    run = host()
    run.start()
    run.receive(said()[0])
    assert run.receive(said()[0]) == [Broken("not a proof")]


def test_one_run_is_one_guess() -> None:
    run = host()
    run.start()
    run.receive(said()[0])
    assert run.receive(b"\xc5\x01" + bytes(32)) == [Wrong()]
    assert run.receive(said()[2]) == []


def test_another_version_is_said_to_be_one() -> None:
    run = host()
    run.start()
    (broken,) = run.receive(b"\xc4\x02" + said()[0][2:])
    assert broken == Broken("version 2 of the password's exchange is not spoken here")


@settings(max_examples=100, deadline=None)
@given(st.lists(st.binary(max_size=80) | st.binary(min_size=32, max_size=32).map(lambda e: b"\xc4\x01" + e)))
def test_no_bytes_of_an_attacker_make_a_host_agree(messages: list[bytes]) -> None:
    run = host()
    run.start()
    effects = [effect for message in messages for effect in run.receive(message)]
    assert Agreed() not in effects


def test_a_secret_depends_on_password_and_room_and_not_on_how_the_keyboard_composes() -> None:
    composed, apart = "caf\u00e9", "cafe\u0301"
    secret = stretch(composed, room=b"r" * 32)
    assert secret == stretch(apart, room=b"r" * 32)
    assert len({secret, stretch("cafe", room=b"r" * 32), stretch(composed, room=b"q" * 32)}) == 3


@pytest.mark.parametrize("password", ["", "x" * 257, "\udcff"])
def test_what_cannot_be_a_password_is_said(password: str) -> None:
    with pytest.raises(BadPassword):
        stretch(password, room=bytes(32))


def test_a_secret_is_the_same_in_every_version_of_pigeon() -> None:
    assert (
        stretch("correct horse", room=b"r" * 32).hex()
        == "ceae741460dceab2d107cd8c64d477dd415dfae7d308a937fd4eabbf69ed09f0"
    )


def test_the_messages_are_the_same_in_every_version_of_pigeon() -> None:
    assert (
        hashlib.sha256(b"".join(said())).hexdigest()
        == "a3dbc0ba2310d81c915b2d859b5c60dceb1aa8655f848b0e0fe7b2d083ad0dd2"
    )
