"""What people read: states in words and signs, and nothing that a peer made up."""

import msgspec
import pytest

from console.out import Out
from console.plain import PlainScreen
from console.sentences import (
    asks_text,
    evidence_text,
    final_line,
    progress_text,
    quorum_state,
    removal_text,
    removed_text,
)
from console.settings import Settings
from console.tables import members_table, status_table, why_not_final
from console.welcome import numbers
from node.api import MemberView
from node.events import (
    AsksEvent,
    DeliveredEvent,
    ErrorEvent,
    EvidenceEvent,
    FinalEvent,
    IdentityEvent,
    InviteEvent,
    LinkView,
    OverEvent,
    PendingEvent,
    ProgressEvent,
    RemovalEvent,
    RemovedEvent,
    RoomEvent,
    StatusEvent,
    WordsEvent,
)
from signaling.token import Kind, to_token
from tests.console.fakes import ROOM

STATUS = StatusEvent(
    n=4,
    f=1,
    quorum=3,
    up=2,
    height=7,
    index=12,
    pending=1,
    waiting_for=["cal", "dee"],
    links=[LinkView(member="bb", nick="bob", state="up"), LinkView(member="cc", nick="cal", state="down")],
)


def test_a_final_message_shows_its_number_and_who_said_it() -> None:
    said = FinalEvent(
        index=12,
        height=7,
        id="aa",
        member="bb",
        nick="b\x1b[1mob",
        text="one\ntwo",
        claimed_time=0,
        mine=False,
    )
    line = final_line(said)
    assert line.startswith("■ #12 ")
    assert line.endswith(" bob: one\n          two")


@pytest.mark.parametrize(
    ("up", "pending", "waiting", "sentence"),
    [
        (2, 1, ["cal", "dee"], "Waiting for 1 of: cal, dee."),
        (1, 1, ["cal", "dee"], "Waiting for cal and dee."),
        (4, 1, [], "Enough members are up: what is pending should become final in a moment."),
        (4, 0, [], "Nothing waits: everything said here is final."),
    ],
)
def test_why_says_what_is_missing(up: int, pending: int, waiting: list[str], sentence: str) -> None:
    status = StatusEvent(
        n=4, f=1, quorum=3, up=up, height=0, index=0, pending=pending, waiting_for=waiting, links=[]
    )
    assert why_not_final(status) == sentence


def _removal(*, member: str = "dd", by: list[str], leaves: bool = False, then_up: int = 3) -> RemovalEvent:
    return RemovalEvent(
        member=member, nick="dee", by=by, leaves=leaves, have=len(by), need=3, then_up=then_up, then_need=3
    )


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (
            _removal(by=["ann", "bob"], then_up=2),
            "- dee is to be removed: 2 of 3 members are for it (ann, bob). "
            "If you are for it, type: /remove dee\n  Without dee 3 are needed, and 2 are up now.",
        ),
        (
            _removal(by=["cal", "bob"]),
            "- dee is to be removed: 2 of 3 members are for it (cal, bob).",
        ),
        (_removal(by=["dee"], leaves=True), "- dee wants to leave: 1 of 3 members are for it."),
        (_removal(member="aa", by=["bob"]), "- You are to go: 1 of 3 members are for it (bob)."),
        (_removal(member="aa", by=["dee"], leaves=True), "- You asked to leave: 1 of 3 members are for it."),
    ],
)
def test_a_removal_says_how_far_it_has_come_and_what_one_can_do(event: RemovalEvent, text: str) -> None:
    assert removal_text(event, me="aa", nick="cal") == text


def test_who_is_out_reads_how_it_came_and_that_the_record_stays() -> None:
    removed = RemovedEvent(member="dd", nick="dee", n=3, f=0, quorum=3)
    left = msgspec.structs.replace(removed, left=True)
    assert removed_text(removed, me="aa") == "- dee was removed: 3 members now, quorum 3"
    assert removed_text(left, me="aa") == "- dee left: 3 members now, quorum 3"
    assert removed_text(removed, me="dd").startswith("- You were removed from the room. Its record stays")
    assert removed_text(left, me="dd").startswith("- You left the room. Its record stays readable")


def test_evidence_says_what_a_key_signed_and_where_the_proof_is() -> None:
    caught = EvidenceEvent(member="dd", nick="dee", kind="two slots for one place", file="/tmp/case.json")
    assert evidence_text(caught).splitlines() == [
        "! A key of dee signed twice (two slots for one place).",
        "  The proof was kept: /tmp/case.json",
        "  Anybody can check it: pigeon verify FILE --room FINGERPRINT",
    ]
    fork = msgspec.structs.replace(caught, nick="", kind="two certified blocks at one height", file="")
    assert evidence_text(fork) == ("! More lied than the room can bear (two certified blocks at one height).")


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (ProgressEvent(height=1200, target=10000, past=False), "catching up: 1,200 of 10,000 blocks"),
        (ProgressEvent(height=10000, target=10000, past=False), "caught up: 10,000 blocks."),
        (ProgressEvent(height=0, target=70, past=True), "fetching what was said before: 0 of 70 blocks"),
        (ProgressEvent(height=70, target=70, past=True), "everything said before is here: 70 blocks."),
    ],
)
def test_progress_is_told_in_blocks(event: ProgressEvent, text: str) -> None:
    assert progress_text(event) == text


async def test_where_nothing_can_be_written_over_progress_is_told_at_its_beginning_and_end_only(
    capfd: pytest.CaptureFixture[str],
) -> None:
    screen = PlainScreen(Out(Settings()), color=False)
    for height in (0, 20, 60, 100):
        await screen.event(ProgressEvent(height=height, target=100, past=False))
    assert capfd.readouterr().err.splitlines() == [
        "· catching up: 0 of 100 blocks",
        "· caught up: 100 blocks.",
    ]


def test_who_marks_a_key_that_signed_twice_and_a_member_that_asks_for_a_new_one() -> None:
    members = [
        MemberView(member="dd" * 32, nick="dee", state="up", admitted_at=3, convicted=True),
        MemberView(member="cc" * 32, nick="cal", state="asks", admitted_at=0, have=1, need=3, rekey=True),
    ]
    table = members_table(members, color=False)
    assert "this key signed twice: it is not listened to" in table
    assert "pigeon remove dee" in table
    assert "asks for a new vote key (1 of 3)" in table


def test_status_is_readable_without_colour() -> None:
    assert status_table(STATUS, why=True, color=False).splitlines() == [
        "2/4 up · no quorum (3 of 4 needed, 1 may lie) · block 7 · #12",
        "rule ask · 1 of your messages not final yet",
        "  bob              up",
        "  cal              down",
        "Waiting for 1 of: cal, dee.",
    ]
    assert quorum_state(STATUS) == "no quorum: 1 more needed"


def test_who_lists_members_and_those_who_ask() -> None:
    table = members_table(
        [
            MemberView(member="aa" * 32, nick="ann", state="me", admitted_at=0),
            MemberView(
                member="bb" * 32, nick="bob", state="asks", admitted_at=0, words="a b c d", have=1, need=2
            ),
        ],
        color=False,
    )
    rows = [line.split() for line in table.splitlines()]
    assert ["ann", "you", "0", "aa" * 8] in rows
    assert ["bob", "asks", "to", "be", "let", "in", "(1", "of", "2)", "-", "bb" * 8] in rows
    assert "words: A B C D" in table
    assert "\x1b" not in table


def test_whoever_asks_is_shown_with_words_and_what_to_do() -> None:
    asks = AsksEvent(member="bb", nick="bob", words="a b c d", inviter="ann", verified=False, have=0, need=2)
    text = asks_text(asks)
    assert "invited by ann (not verified): 0 of 2 approvals" in text
    assert "A B C D" in text
    assert "/admit bob" in text


@pytest.mark.parametrize(
    ("n", "words"),
    [(1, "alone"), (2, "everyone must be online"), (3, "everyone"), (4, "one of them"), (7, "2 of")],
)
def test_the_number_of_members_is_explained(n: int, words: str) -> None:
    assert words in numbers(n)


async def test_a_message_goes_from_pending_to_final_and_only_its_place_is_data(
    capfd: pytest.CaptureFixture[str],
) -> None:
    screen = PlainScreen(Out(Settings()), color=False)
    room = RoomEvent(room="tea", fingerprint="ff", me="aa", nick="ann", n=4, f=1, quorum=3)
    final = FinalEvent(
        index=3, height=2, id="01", member="aa", nick="ann", text="hi\x07", claimed_time=0, mine=True
    )
    for event in (room, PendingEvent(id="01", text="hi\x07"), DeliveredEvent(id="01", acks=3), final, room):
        await screen.event(event)
    shown = capfd.readouterr()
    assert shown.out.startswith("■ #3 ")
    assert shown.out.endswith(" ann: hi\n")
    assert shown.err.splitlines() == [
        "Room tea · you are ann · 4 members, quorum 3",
        "Fingerprint ff",
        "… pending hi",
        "✓ 3/4     hi  (delivered, not final)",
    ]


async def test_the_standing_line_is_printed_when_it_changes(capfd: pytest.CaptureFixture[str]) -> None:
    screen = PlainScreen(Out(Settings()), color=False)
    await screen.standing(STATUS)
    await screen.standing(msgspec.structs.replace(STATUS, index=13))
    await screen.standing(msgspec.structs.replace(STATUS, up=3))
    assert capfd.readouterr().err.splitlines() == [
        "2/4 up · no quorum: 1 more needed · #12",
        "3/4 up · quorum ok · #12",
    ]


async def test_quiet_leaves_data_and_errors(capfd: pytest.CaptureFixture[str]) -> None:
    screen = PlainScreen(Out(Settings(quiet=True)), color=False)
    await screen.event(PendingEvent(id="01", text="hi"))
    await screen.event(InviteEvent(token="pigeon:X", expires=0))
    await screen.event(ErrorEvent(code=2, message="No.", hint="Try."))
    shown = capfd.readouterr()
    assert (shown.out, shown.err) == ("pigeon:X\n", "! No.\n  Try.\n")


async def test_who_asks_is_told_at_length_once(capfd: pytest.CaptureFixture[str]) -> None:
    screen = PlainScreen(Out(Settings()), color=False)
    asks = AsksEvent(member="bb", nick="bob", words="a b c d", inviter="ann", verified=True, have=0, need=3)
    await screen.event(asks)
    await screen.event(msgspec.structs.replace(asks, have=1))
    assert capfd.readouterr().err.splitlines()[-2:] == [
        "  If bob sees the same words, type: /admit bob",
        "? bob has 1 of 3 approvals now.",
    ]


async def test_who_is_not_whom_this_home_would_expect_is_told_of_even_with_quiet(
    capfd: pytest.CaptureFixture[str],
) -> None:
    odd = IdentityEvent(
        kind="other-key",
        member="e0",
        nick="bob",
        known_member="b0",
        known_nick="bob",
        room="tea",
        met=0,
        message="bob\x1b[2J comes with another key.",
    )
    await PlainScreen(Out(Settings(quiet=True)), color=False).event(odd)
    assert capfd.readouterr() == ("", "! bob comes with another key.\n")


async def test_a_newcomer_reads_whom_it_reached_where_it_has_met_that_key(
    capfd: pytest.CaptureFixture[str],
) -> None:
    screen = PlainScreen(Out(Settings()), color=False)
    await screen.event(WordsEvent(member="ab" * 32, words="one two three four"))
    await screen.event(WordsEvent(member="ab" * 32, words="one two three four", known="an\nn"))
    assert capfd.readouterr().err.splitlines() == [
        "Safety words between you and abababab: ONE TWO THREE FOUR (compare them by voice)",
        "Safety words between you and abababab (whom you have met as an n): ONE TWO THREE FOUR "
        "(compare them by voice)",
    ]


@pytest.mark.parametrize(("via", "both"), [(["dir:/tmp/x", "paste"], True), (["dir:/tmp/x"], False)])
async def test_where_an_offer_is_made_besides_it_is_said_that_each_is_for_one_person(
    capfd: pytest.CaptureFixture[str], via: list[str], both: bool
) -> None:
    screen = PlainScreen(Out(Settings()), color=False)
    await screen.know(msgspec.structs.replace(ROOM, via=via))
    await screen.event(InviteEvent(token=to_token(Kind.INVITATION, bytes(200)), expires=0))
    assert ("Each of the two lets one person in" in capfd.readouterr().err) is both


@pytest.mark.parametrize("reason", ["used", "expired", "stale", "withdrawn"])
async def test_that_a_token_is_over_is_no_line_of_its_own(
    capfd: pytest.CaptureFixture[str], reason: str
) -> None:
    screen = PlainScreen(Out(Settings()), color=False)
    await screen.event(OverEvent(kind="offer", token="pigeon:X", reason=reason))
    shown = capfd.readouterr()
    assert (shown.out, shown.err, screen.renewable) == ("", "", None)
