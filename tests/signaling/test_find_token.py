"""A token is found in whatever a person pastes, and what is wrong with one is said as if it stood alone."""

import random
import string
import time

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from signaling.errors import NotAToken, Oversize, SignalError, TokenCut, TokenMistyped, WrongVersion
from signaling.token import MAX_PASTE, Kind, find_token, find_tokens, to_qr_text, to_token

PAYLOAD = random.Random(1).randbytes(198)
TOKEN = to_token(Kind.OFFER, PAYLOAD)
OTHER = to_token(Kind.ANSWER, PAYLOAD[:150])
PROSE = "Hi Ann, open pigeon and paste this: it's the token (pigeon: needs it whole). 12:30 ok? Thanks, Bob"


def wrapped(token: str, width: int, *, before: str = "", after: str = "", end: str = "\n") -> str:
    parts = [token[at : at + width] for at in range(0, len(token), width)]
    return end.join(before + part + after for part in parts)


@pytest.mark.parametrize("width", [1, 2, 3, 5, 7, 20, 40, 72, 76, 80, 200, 400])
@pytest.mark.parametrize("before", ["", "> ", "> > ", ">>", "| ", "  ", "\t", "│ "])
def test_it_may_be_wrapped_at_any_column_and_quoted(width: int, before: str) -> None:
    for end in ("\n", "\r\n", "\n\n", "\u2028"):
        assert find_token(wrapped(TOKEN, width, before=before, end=end)) == TOKEN
        assert find_token(f"{PROSE}\n\n{wrapped(TOKEN, width, before=before, end=end)}\n\n{PROSE}") == TOKEN
    assert find_token(wrapped(TOKEN, width, before=before, after=" |")) == TOKEN
    assert find_token(wrapped(TOKEN, width, before=before, after="=")) == TOKEN  # quoted-printable


@pytest.mark.parametrize(
    "mark",
    ["`{}`", "```\n{}\n```", "```text\n{}\n```", "**{}**", "*{}*", "__{}__", "_{}_", "~~{}~~", '"{}"', "'{}'",
     "<{}>", "({})", "[{}]", "{}.", "{},", "{}!", "see {} thanks", "\x1b[200~{}\x1b[201~", "\ufeff{}",
     "token:{}", "{}\u200b", "[12:03] <ann> {}", "12:03 ann: {}  \u2713\u2713 edited"],
)  # fmt: skip
def test_markup_around_it_does_not_matter(mark: str) -> None:
    assert find_token(mark.format(TOKEN)) == TOKEN
    assert find_token(mark.format(TOKEN.upper())) == TOKEN
    assert find_token(mark.format(TOKEN.lower())) == TOKEN


@pytest.mark.parametrize(
    "before", ["[12:03:44] ann: ", "<ann> ", "12:03 <@ann> ", "ann 12:03 PM: ", "2026-11-20 12:03 ann | "]
)
@pytest.mark.parametrize("width", [7, 16, 33, 64, 100])
def test_a_name_and_a_time_before_every_line_do_not_matter(before: str, width: int) -> None:
    assert find_token(wrapped(TOKEN, width, before=before)) == TOKEN
    assert find_token("ann\n" + wrapped(TOKEN, width, before=before) + f"\n{before}got it?") == TOKEN


def test_a_name_and_a_time_on_lines_of_their_own_do_not_matter() -> None:
    assert find_token("ann\n12:03\n" + wrapped(TOKEN, 60, end="\nann\n12:04\n") + "\nbob\nok") == TOKEN


def test_grouped_by_spaces_it_is_still_one() -> None:
    assert find_token(wrapped(TOKEN, 5, end=" ")) == TOKEN
    assert find_token(wrapped(TOKEN, 4, end="\u00a0") + "\nbye") == TOKEN


def test_zero_width_characters_and_line_separators_inside_do_not_matter() -> None:
    for odd in "\u200b\u200c\u200d\u2060\ufeff\u00ad\u200e\u202a\u2069\ufe0f":
        assert find_token(odd.join(TOKEN)) == TOKEN


@given(st.randoms(use_true_random=False), st.text(max_size=60), st.text(max_size=60))
def test_random_surroundings_do_not_hide_it(dice: random.Random, before: str, after: str) -> None:
    width = dice.randrange(1, 120)
    quote = dice.choice(["", "> ", ">> ", "| "])
    cased = dice.choice([str.upper, str.lower, str])(TOKEN)
    text = wrapped(cased, width, before=quote, end=dice.choice(["\n", "\r\n", "\n\n"]))
    assert find_token(f"{before}\n{text}\n{after}") == TOKEN
    assert find_token(f"{before} {TOKEN} {after}") == TOKEN


@given(st.text(string.ascii_letters + "237 .,:\n>", max_size=200))
def test_prose_is_no_token(text: str) -> None:
    assume("pigeon:" not in text.lower())
    with pytest.raises(NotAToken):
        find_token(text)


def test_prose_that_mentions_the_prefix_is_no_token() -> None:
    for text in (
        PROSE,
        "what is pigeon:?",
        "pigeon: send it",
        "pigeon:chat rocks",
        "PIGEON:$ what?",
        "",
        "\n",
    ):
        with pytest.raises(NotAToken):
            find_token(text)


def test_of_several_the_first_whole_one_is_taken() -> None:
    damaged = TOKEN[:100] + ("A" if TOKEN[100] != "A" else "B") + TOKEN[101:]
    assert find_token(f"{TOKEN}\n{OTHER}") == find_token(f"{TOKEN} {OTHER}") == TOKEN
    assert find_token(f"{OTHER}\n\n{wrapped(TOKEN, 60)}") == OTHER
    for broken in (damaged, TOKEN[:200], TOKEN[:9], "pigeon:"):
        for between in ("\n", " ", "\n\nno, this one: "):
            assert find_token(broken + between + OTHER) == OTHER
            assert find_token(broken + between + wrapped(OTHER, 30, before="> ")) == OTHER


def test_all_of_several_are_found_each_once_in_their_order() -> None:
    third = to_token(Kind.ANSWER, b"third")
    text = f"{OTHER}\n\n{wrapped(TOKEN, 60, before='> ')}\n\nann: {third} and again {OTHER}\n{TOKEN[:40]}"
    assert find_tokens(text) == [OTHER, TOKEN, third]
    assert find_tokens(" ".join([TOKEN, third] * 40)) == [TOKEN, third]


def test_what_an_app_that_scans_gives_is_found_too() -> None:
    text = to_qr_text(TOKEN)
    for pasted in (
        text,
        text.lower(),
        f"scanned: {text}\n",
        f"QR\r\n{text}\r\nbye",
        wrapped(text, 50),
        f"`{text}`",
    ):
        assert find_token(pasted) == TOKEN
    with pytest.raises(TokenCut):
        find_token(text[:-9])


def test_every_one_character_that_is_wrong_is_named_as_if_it_stood_alone() -> None:
    dice = random.Random(5)
    for at in range(len("pigeon:"), len(TOKEN)):
        wrong = dice.choice(list(set(string.ascii_uppercase + string.digits + ".,;é") - {TOKEN[at]}))
        text = TOKEN[:at] + wrong + TOKEN[at + 1 :]
        for pasted in (
            text,
            f"{PROSE}\n\n{text}\n\n{PROSE}",
            wrapped(text, 64),
            wrapped(text, 70, before="> "),
        ):
            with pytest.raises(TokenMistyped):
                find_token(pasted)


def test_every_cut_is_named_as_if_it_stood_alone() -> None:
    for end in range(len("pigeon:") + 5, len(TOKEN) - 1):  # one more, and what follows may complete it
        text = TOKEN[:end]
        for pasted in (
            text,
            f"{PROSE}\n{text}",
            f"{text} sorry",
            f"{text}..." if end != len(TOKEN) - 3 else text,
            f"{text}\n\n{PROSE}",
            f"> {text}",
        ):
            with pytest.raises(TokenCut):
                find_token(pasted)
    for end in (*range(len("pigeon:"), len("pigeon:") + 5), len(TOKEN) - 1):
        with pytest.raises(TokenCut):
            find_token(TOKEN[:end])


def test_one_that_was_cut_while_wrapped_is_told_from_a_mistyped_one() -> None:
    for width in (20, 64, 80):
        for end in (60, 200, 300, 334):
            with pytest.raises(TokenCut):
                find_token(wrapped(TOKEN[:end], width))
            with pytest.raises(TokenCut):
                find_token(wrapped(TOKEN[:end], width, before="> ") + "\n\n" + PROSE)


def test_another_version_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("signaling.token.VERSION", 3)
    newer = to_token(Kind.OFFER, PAYLOAD)
    monkeypatch.undo()
    for pasted in (newer, f"{PROSE}\n{wrapped(newer, 50)}"):
        with pytest.raises(WrongVersion):
            find_token(pasted)


def test_a_text_too_large_is_refused_at_once_and_one_of_nothing_but_beginnings_costs_little() -> None:
    with pytest.raises(Oversize):
        find_token("x" * (MAX_PASTE + 1))
    hostile = [
        "pigeon:", "pigeon:\n", "pigeon: ", TOKEN[:12], TOKEN[:12] + "\n", TOKEN[:40] + " a\n", "A", "A ",
        ">", "\n", "A\n", "\x1b[", "\x1b[0", "\u200b", "PIGEON:$", to_qr_text(TOKEN)[:30] + "\n",
        "pigeon:" + "a" * 17 + " ",
    ]  # fmt: skip
    for piece in hostile:
        text = (piece * MAX_PASTE)[:MAX_PASTE]
        began = time.process_time()
        with pytest.raises(SignalError):
            find_token(text)
        assert time.process_time() - began < 0.5, piece
