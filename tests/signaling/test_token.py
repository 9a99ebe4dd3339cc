"""A token says what is wrong with it: cut, mistyped, another kind, another version, not ours."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signaling.errors import (
    NotAToken,
    Oversize,
    SignalError,
    TokenCut,
    TokenMistyped,
    WrongKind,
    WrongVersion,
)
from signaling.token import MAX_TOKEN, Kind, from_token, to_token

PAYLOAD = bytes(range(200))
TOKEN = to_token(Kind.OFFER, PAYLOAD)


@given(st.sampled_from(Kind), st.binary(max_size=600))
def test_what_goes_in_comes_out(kind: Kind, payload: bytes) -> None:
    assert from_token(to_token(kind, payload), expected=kind) == (kind, payload)


def test_case_spaces_and_line_breaks_do_not_matter() -> None:
    folded = "\r\n  ".join(TOKEN[at : at + 40] for at in range(0, len(TOKEN), 40))
    assert from_token(folded.lower()) == from_token(TOKEN.upper()) == (Kind.OFFER, PAYLOAD)


def test_in_upper_case_it_is_alphanumeric_to_a_qr_code() -> None:
    assert set(TOKEN.upper()) <= set("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:")


def test_a_token_cut_anywhere_says_that_its_end_is_missing() -> None:
    for end in range(len("pigeon:"), len(TOKEN)):
        with pytest.raises(TokenCut, match="cut: its end is missing"):
            from_token(TOKEN[:end])


def test_any_one_wrong_character_says_that_it_was_mistyped() -> None:
    for at in range(len("pigeon:"), len(TOKEN)):
        wrong = "B" if TOKEN[at] == "A" else "A"
        with pytest.raises(TokenMistyped, match="mistyped"):
            from_token(TOKEN[:at] + wrong + TOKEN[at + 1 :])


def test_a_character_that_no_token_has_says_that_it_was_mistyped() -> None:
    with pytest.raises(TokenMistyped):
        from_token(TOKEN[:50] + "1" + TOKEN[51:])


def test_something_pasted_behind_it_says_that_it_was_mistyped() -> None:
    with pytest.raises(TokenMistyped):
        from_token(TOKEN + "ABCDEFGH")


def test_one_character_behind_it_says_that_it_was_mistyped_however_long_it_is() -> None:
    for size in range(8):
        token = to_token(Kind.OFFER, PAYLOAD[: 40 + size])
        for more in "A7=.!\u00e9":
            with pytest.raises(TokenMistyped):
                from_token(token + more)


def test_a_token_of_another_kind_names_both_kinds() -> None:
    with pytest.raises(WrongKind, match="This is an offer, not an invitation"):
        from_token(TOKEN, expected=Kind.INVITATION)


def test_a_text_that_is_no_token_says_so() -> None:
    for text in ("", "pigeon", "https://example.org/", "PIGEON;ABC"):
        with pytest.raises(NotAToken, match="not a pigeon token"):
            from_token(text)


def test_a_very_long_text_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(Oversize):
        from_token("pigeon:" + "A" * 10 * MAX_TOKEN)


def test_a_token_of_a_newer_version_says_to_update() -> None:
    from signaling.token import _digest

    head = bytes((2, 1, 0, 1))
    body = head + _digest(head)[:1] + b"x"
    text = base64.b32encode(body + _digest(body)[:4]).decode().rstrip("=")
    with pytest.raises(WrongVersion, match="Update pigeon"):
        from_token("pigeon:" + text)


@given(st.text(max_size=200))
def test_no_text_raises_anything_but_a_signal_error(text: str) -> None:
    for candidate in (text, "pigeon:" + text):
        try:
            from_token(candidate)
        except SignalError as error:
            assert error.message and error.hint
