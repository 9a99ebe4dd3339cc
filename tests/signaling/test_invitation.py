"""An invitation survives its token, expires, and proves its secret without showing it."""

import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from signaling.errors import Expired, Malformed, Oversize, SignalError, WrongVersion
from signaling.invitation import (
    Anchor,
    Invitation,
    decode_invitation,
    encode_invitation,
    invitation_key,
)

NOW = 1_800_000_000
INVITATION = Invitation(
    room=b"r" * 32,
    inviter=b"i" * 32,
    secret=b"s" * 16,
    expires=NOW + 86_400,
    anchor=Anchor(128, b"b" * 32),
    carriers=("dir:/srv/lobby",),
    grant=b"g" * 104,
)


def test_an_invitation_survives_its_token() -> None:
    assert Invitation.from_token(INVITATION.to_token(), now=NOW) == INVITATION
    bare = Invitation(room=b"r" * 32, inviter=b"i" * 32, secret=b"s" * 16, expires=NOW + 1)
    assert Invitation.from_token(bare.to_token(), now=NOW) == bare


def test_an_expired_invitation_says_how_long_ago() -> None:
    with pytest.raises(Expired, match="This invitation expired 24 hours ago"):
        Invitation.from_token(INVITATION.to_token(), now=NOW + 2 * 86_400)


def test_a_newer_version_is_told_from_damage() -> None:
    newer = msgspec.structs.replace(INVITATION, version=2)
    with pytest.raises(WrongVersion):
        decode_invitation(encode_invitation(newer), now=NOW)
    with pytest.raises(Malformed):
        decode_invitation(encode_invitation(INVITATION)[:-1], now=NOW)


def test_a_longer_form_of_the_same_meaning_is_refused() -> None:
    data = encode_invitation(INVITATION)
    assert data[1:2] == b"\x01"
    with pytest.raises(SignalError):
        decode_invitation(data[:1] + b"\xcc\x01" + data[2:], now=NOW)


def test_an_oversize_invitation_is_refused() -> None:
    with pytest.raises(Oversize):
        decode_invitation(bytes(2000), now=NOW)


def test_the_invitation_key_hangs_on_the_secret_alone_and_is_not_the_secret() -> None:
    key = invitation_key(b"s" * 16)
    assert isinstance(key, SigningKey)
    assert key == invitation_key(b"s" * 16) != invitation_key(b"t" * 16)
    assert b"s" * 16 not in bytes(key)


@given(st.binary(max_size=300), st.integers(0, 260))
def test_no_bytes_raise_anything_but_a_signal_error(junk: bytes, keep: int) -> None:
    for data in (junk, encode_invitation(INVITATION)[:keep] + junk):
        with contextlib.suppress(SignalError):
            decode_invitation(data, now=NOW)
