"""A token says what is wrong with it: cut, mistyped, another kind, another version, not ours."""

import string

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
from signaling.token import (
    FRAMING,
    MAX_PAYLOAD,
    MAX_TOKEN,
    PREFIX,
    QR_PREFIX,
    Kind,
    _crc5,
    from_token,
    to_qr_text,
    to_token,
)

PAYLOAD = bytes(range(198))
TOKEN = to_token(Kind.OFFER, PAYLOAD)
ALPHANUMERIC = set("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ $%*+-./:")


@given(st.sampled_from(Kind), st.binary(max_size=MAX_PAYLOAD))
def test_what_goes_in_comes_out_of_both_forms(kind: Kind, payload: bytes) -> None:
    token = to_token(kind, payload)
    assert from_token(token, expected=kind) == (kind, payload)
    assert from_token(to_qr_text(token), expected=kind) == (kind, payload)
    assert to_token(*from_token(to_qr_text(token))) == token
    assert len(token) <= MAX_TOKEN >= len(to_qr_text(token))


def test_it_costs_seven_bytes_and_is_a_sixteenth_shorter_in_a_picture() -> None:
    assert len(TOKEN) == len(PREFIX) + -(-8 * (198 + FRAMING) // 5) == 335
    assert len(to_qr_text(TOKEN)) == 316


def test_what_does_not_fit_is_our_own_mistake() -> None:
    with pytest.raises(ValueError, match="too many"):
        to_token(Kind.OFFER, bytes(MAX_PAYLOAD + 1))


def test_case_spaces_and_line_breaks_do_not_matter() -> None:
    folded = "\r\n  ".join(TOKEN[at : at + 40] for at in range(0, len(TOKEN), 40))
    assert from_token(folded.lower()) == from_token(TOKEN.upper()) == (Kind.OFFER, PAYLOAD)


def test_in_a_picture_the_spaces_count_and_line_breaks_do_not() -> None:
    text = to_qr_text(to_token(Kind.OFFER, b"\0" + b"\x06\x78" * 40))
    assert "  " in text
    broken = "\r\n".join(text[at : at + 30] for at in range(0, len(text), 30))
    assert from_token(broken + "\n") == from_token(text.lower()) == from_token(text)
    with pytest.raises(TokenCut):
        from_token(text.replace("  ", " "))


def test_both_forms_are_alphanumeric_to_a_qr_code() -> None:
    assert set(TOKEN.upper()) | set(to_qr_text(TOKEN)) <= ALPHANUMERIC


@given(st.sampled_from(Kind), st.binary(max_size=60))
def test_a_token_cut_anywhere_says_that_its_end_is_missing(kind: Kind, payload: bytes) -> None:
    token = to_token(kind, payload)
    for prefix, text in ((PREFIX, token), (QR_PREFIX, to_qr_text(token))):
        for end in range(len(prefix), len(text)):
            with pytest.raises(TokenCut, match="cut: its end is missing"):
                from_token(text[:end])


def test_any_one_wrong_character_says_that_it_was_mistyped() -> None:
    for at in range(len(PREFIX), len(TOKEN)):
        for wrong in {*string.ascii_uppercase, *string.digits, ".", "é", "ſ"} - {TOKEN[at]}:
            with pytest.raises(TokenMistyped, match="mistyped"):
                from_token(TOKEN[:at] + wrong + TOKEN[at + 1 :])


def test_the_crc_of_the_head_notices_whatever_one_character_can_change() -> None:
    for head in range(0, 1 << 19, 9973):
        word = head << 5 | _crc5(head)
        for burst in range(1, 32):
            for shift in range(20):
                wrong = word ^ burst << shift
                assert _crc5(wrong >> 5) != wrong & 31


def test_two_characters_that_changed_places_say_that_it_was_mistyped() -> None:
    for at in range(len(PREFIX), len(TOKEN) - 1):
        if TOKEN[at] != TOKEN[at + 1]:
            with pytest.raises((TokenMistyped, TokenCut, WrongVersion)) as caught:
                from_token(TOKEN[:at] + TOKEN[at + 1] + TOKEN[at] + TOKEN[at + 2 :])
            assert caught.type is TokenMistyped or at < len(PREFIX) + 5  # two may deceive the head's CRC


def test_something_behind_it_says_that_it_was_mistyped_however_long_it_is() -> None:
    for size in range(8):
        token = to_token(Kind.OFFER, PAYLOAD[: 40 + size])
        for more in ("A", "7", "=", ".", "!", "\u00e9", "ABCDEFGH"):
            for text in (token, to_qr_text(token)):
                with pytest.raises(TokenMistyped):
                    from_token(text + more)


def test_a_token_has_one_form_only_whatever_its_last_character_leaves_unused() -> None:
    for size in range(1, 9):
        token = to_token(Kind.ANSWER, PAYLOAD[:size])
        same = [last for last in string.ascii_uppercase + "234567" if _reads(token[:-1] + last)]
        assert same == [token[-1]]


def _reads(text: str) -> bool:
    try:
        from_token(text)
    except TokenMistyped:
        return False
    return True


def test_a_token_of_another_kind_names_both_kinds() -> None:
    with pytest.raises(WrongKind, match="This is an offer, not an invitation"):
        from_token(TOKEN, expected=Kind.INVITATION)


def test_a_text_that_is_no_token_says_so() -> None:
    for text in ("", "pigeon", "https://example.org/", "PIGEON;ABC"):
        with pytest.raises(NotAToken, match="not a pigeon token"):
            from_token(text)


def test_a_very_long_text_is_refused_before_it_is_decoded() -> None:
    for length in (MAX_TOKEN + 1, 10 * MAX_TOKEN):
        with pytest.raises(Oversize):
            from_token("pigeon:" + "A" * length)


def test_a_token_of_another_version_says_to_update_whatever_the_rest_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for version in (1, 3, 15):
        monkeypatch.setattr("signaling.token.VERSION", version)
        token = to_token(Kind.OFFER, b"x")
        monkeypatch.undo()
        for text in (token, token + "AAAA", token[:-3]):
            with pytest.raises(WrongVersion, match="Update pigeon"):
                from_token(text)


@given(st.text(max_size=200), st.sampled_from(["", PREFIX, QR_PREFIX, TOKEN[:14], TOKEN]))
def test_no_text_raises_anything_but_a_signal_error(text: str, before: str) -> None:
    try:
        from_token(before + text)
    except SignalError as error:
        assert error.message and error.hint
