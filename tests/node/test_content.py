"""Bodies: texts in, texts out, and whatever a lying member may have put there."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.block import SLOT_BODY_BYTES
from node.content import MAX_TEXT, body_id, body_text, check_text, text_body
from node.errors import UsageError


@given(st.text(min_size=1, max_size=200))
def test_a_text_comes_out_as_it_went_in(text: str) -> None:
    body = text_body(text)
    assert body_text(body.data) == text
    assert len(body_id(body.data)) == 16


def test_the_same_text_twice_is_two_messages() -> None:
    one, other = text_body("again"), text_body("again")
    assert body_id(one.data) != body_id(other.data)
    assert one.salt != other.salt


def test_the_longest_text_is_16_kib_of_utf8() -> None:
    longest = "ä" * (MAX_TEXT // 2)
    assert body_text(text_body(longest).data) == longest
    with pytest.raises(UsageError, match="16385 bytes"):
        text_body(longest + "x")


@pytest.mark.parametrize("text", ["", "\ud800"])
def test_what_is_no_text_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        check_text(text)


@given(st.binary(max_size=SLOT_BODY_BYTES // 16))
def test_any_bytes_are_a_text_or_none(data: bytes) -> None:
    text = body_text(data)
    assert text is None or data[17:] == text.encode()


@pytest.mark.parametrize(
    "content", [b"", b"\x00", b"\x01hello", b"\xffhello", b"\x00\xff", b"\x00" + b"x" * (MAX_TEXT + 1)]
)
def test_other_content_is_not_shown_as_text(content: bytes) -> None:
    assert body_text(bytes(16) + content) is None
