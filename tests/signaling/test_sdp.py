"""What browsers write comes in as typed fields or not at all; what we write comes back the same."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from signaling.candidates import MAX_CANDIDATES, Candidate
from signaling.description import Setup, Transport
from signaling.errors import Malformed, Oversize, SignalError
from signaling.sdp import (
    MAX_SIGNALS,
    NotYet,
    Session,
    parse_sdp,
    parse_signals,
    write_sdp,
    write_signal,
)

# As Chromium and Firefox write them, but for the secrets.
CHROMIUM = (
    "v=0\r\no=- 4611731400430051336 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n"
    "a=extmap-allow-mixed\r\na=msid-semantic: WMS\r\n"
    "m=application 51472 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 192.0.2.44\r\n"
    "a=candidate:3127417054 1 udp 2113937151 0fa5c2b8-5a1e-4f3e-8d0b-8f4b5ef52b74.local 51472 typ host "
    "generation 0 network-cost 999\r\n"
    "a=candidate:842163049 1 udp 1677729535 192.0.2.44 51472 typ srflx raddr 0.0.0.0 rport 0 generation 0 "
    "network-cost 999\r\n"
    "a=candidate:99 1 tcp 1518280447 192.0.2.44 9 typ host tcptype active generation 0\r\n"
    "a=ice-ufrag:Yk3p\r\na=ice-pwd:0123456789abcdefghijklmn\r\na=ice-options:trickle\r\n"
    f"a=fingerprint:sha-256 {':'.join(['AB'] * 32)}\r\n"
    "a=setup:actpass\r\na=mid:0\r\na=sctp-port:5000\r\na=max-message-size:262144\r\n"
)
FIREFOX = (
    "v=0\r\no=mozilla...THIS_IS_SDPARTA-99.0 5013 0 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n"
    f"a=fingerprint:sha-256 {':'.join(['CD'] * 32)}\r\na=group:BUNDLE 0\r\na=ice-options:trickle\r\n"
    "a=msid-semantic:WMS *\r\nm=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\n"
    "a=candidate:0 1 UDP 2122252543 2001:DB8::44 40123 typ host\r\na=sendrecv\r\na=end-of-candidates\r\n"
    "a=ice-pwd:0123456789abcdef0123456789abcdef\r\na=ice-ufrag:0a1b2c3d\r\na=mid:0\r\na=setup:active\r\n"
    "a=sctp-port:5000\r\na=max-message-size:1073741823\r\n"
)


def as_json(sdp: str, kind: str = "offer", **more: object) -> bytes:
    return json.dumps({"type": kind, "sdp": sdp, **more}).encode()


def test_what_chromium_writes_becomes_fields_and_names_and_tcp_are_dropped() -> None:
    assert parse_sdp(CHROMIUM, kind="offer") == Session(
        kind="offer",
        transport=Transport(
            ufrag="Yk3p",
            pwd="0123456789abcdefghijklmn",
            fingerprint=b"\xab" * 32,
            setup=Setup.ACTPASS,
            candidates=(Candidate("srflx", "192.0.2.44", 51472),),
        ),
        max_message=262_144,
    )


def test_what_firefox_says_of_all_sections_holds_for_the_one() -> None:
    session = parse_sdp(FIREFOX, kind="answer")
    assert session.transport.fingerprint == b"\xcd" * 32
    assert session.transport.setup is Setup.ACTIVE
    assert session.transport.candidates == (Candidate("host", "2001:db8::44", 40123),)


def test_what_is_left_out_has_the_meaning_that_the_standard_gives_it() -> None:
    bare = "".join(
        f"{line}\r\n"
        for line in CHROMIUM.split("\r\n")[:-1]
        if not line.startswith(("a=max-message", "a=sctp-port", "a=mid", "a=group", "a=candidate"))
    )
    session = parse_sdp(bare, kind="offer")
    assert (session.max_message, session.sctp_port, session.mid, session.bundled) == (
        65_536,
        5000,
        "0",
        False,
    )
    assert session.transport.candidates == ()


@pytest.mark.parametrize(
    "text",
    [
        as_json(CHROMIUM),
        as_json(CHROMIUM, renegotiate=False, extra=[{"deep": 1}]),
        json.dumps({"type": "offer", "sdp": CHROMIUM}, indent=2).encode(),
        b"[" + as_json(CHROMIUM) + b"]",
        b"  " + as_json(CHROMIUM)[:400] + b"\r\n" + as_json(CHROMIUM)[400:] + b"\n\n",
        as_json(CHROMIUM.replace("\r\n", "\n")),
    ],
    ids=["browser", "unknown fields", "indented", "list", "wrapped", "bare line feeds"],
)
def test_the_json_may_be_written_in_any_of_the_usual_ways(text: bytes) -> None:
    assert parse_signals(text).session == parse_sdp(CHROMIUM, kind="offer")


def test_trickled_candidates_of_browsers_and_of_simple_peer_are_taken_from_beside_the_description() -> None:
    line = "candidate:1 1 udp 2113937151 203.0.113.7 5000{} typ host generation 0 ufrag Yk3p"
    signals = parse_signals(
        b"\n".join(
            (
                as_json(CHROMIUM),
                json.dumps({"candidate": line.format(1), "sdpMid": "0", "sdpMLineIndex": 0}).encode(),
                json.dumps({"type": "candidate", "candidate": {"candidate": line.format(2)}}).encode(),
                json.dumps({"candidate": {"candidate": "candidate:1 1 udp 1 a.local 5 typ host"}}).encode(),
                b'{"candidate": ""}',
                b'{"candidate": null}',
            )
        )
    )
    assert signals.session is not None
    assert signals.candidates == tuple(Candidate("host", "203.0.113.7", port) for port in (50001, 50002))


def test_no_more_than_eight_addresses_are_taken_and_none_that_is_many_hosts_or_none() -> None:
    said = "".join(f"a=candidate:1 1 udp 1 192.0.2.{each} 5000 typ host\r\n" for each in range(1, 100))
    odd = "".join(
        f"a=candidate:1 1 udp 1 {each} typ host\r\n"
        for each in ("224.0.0.1 5", "0.0.0.0 5", "255.255.255.255 5", ":: 5", "192.0.2.200 0", "ff02::1 5")
    )
    session = parse_sdp(CHROMIUM + odd + said, kind="offer")
    assert len(session.transport.candidates) == MAX_CANDIDATES
    assert {each.address for each in session.transport.candidates} == {
        "192.0.2.44", *(f"192.0.2.{last}" for last in range(1, 8))
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (("m=application", "m=audio"), "something else"),
        (("t=0 0", "t=0 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 0"), "something else"),
        (("m=application 51472", "m=application 0"), "refuses a data channel"),
        (("UDP/DTLS/SCTP", "DTLS/SCTP"), "another kind"),
        (("a=ice-ufrag:Yk3p\r\n", ""), "ice-ufrag is missing"),
        (("a=ice-ufrag:Yk3p", "a=ice-ufrag:Yk3p\r\na=ice-ufrag:Yk3q"), "twice"),
        (("Yk3p", "Y 3p"), "ICE name"),
        (("a=ice-pwd:0", "a=ice-pwd:"), None),
        (("a=ice-pwd:0123", "a=ice-pwd:"), "ICE password"),
        (("sha-256", "sha-1"), "SHA-256"),
        (("AB:AB\r\n", "AB\r\n"), "fingerprint"),
        (("a=setup:actpass", "a=setup:holdconn"), "secure session"),
        (("a=sctp-port:5000", "a=sctp-port:70000"), "numbers"),
        (("a=max-message-size:262144", "a=max-message-size:7"), "smaller"),
        (("a=max-message-size:262144", "a=max-message-size:٣"), "numbers"),
        (("192.0.2.44 51472 typ", "192.0.2.44 typ"), "addresses"),
        (("s=-", "s"), "lines"),
        (("v=0", "v=1"), "v=0"),
        (("a=mid:0", "a=mid:0\0"), "lines"),
        (("a=mid:0", "a=mid:0 1"), "section"),
        (("a=mid:0", "a=mid:0\r\na=ice-lite"), "lite"),
    ],
)
def test_what_cannot_be_used_is_refused_and_the_reason_is_said(
    change: tuple[str, str], why: str | None
) -> None:
    assert change[0] in CHROMIUM
    changed = CHROMIUM.replace(*change)
    if why is None:
        assert parse_sdp(changed, kind="offer").transport.pwd == "123456789abcdefghijklmn"
        return
    with pytest.raises(Malformed, match=why):
        parse_sdp(changed, kind="offer")


def test_an_answer_has_to_say_who_begins_the_secure_session() -> None:
    with pytest.raises(Malformed, match="nobody would begin"):
        parse_sdp(CHROMIUM, kind="answer")


def test_two_different_descriptions_in_one_text_are_refused_and_one_twice_is_not() -> None:
    both = as_json(CHROMIUM) + b"\n" + as_json(FIREFOX, "answer")
    with pytest.raises(Malformed, match="two of them"):
        parse_signals(both)
    assert parse_signals(as_json(CHROMIUM) + b"\n" + as_json(CHROMIUM)).session is not None


@pytest.mark.parametrize(
    "text", [b"", b"\n", b"hello", as_json(CHROMIUM)[:-1], as_json(CHROMIUM)[:100], b"\xff", b"[" * 60_000]
)
def test_what_is_no_json_or_not_the_whole_of_it_may_still_become_some(text: bytes) -> None:
    with pytest.raises(NotYet):
        parse_signals(text)


def test_size_comes_first_and_is_bounded_in_every_direction() -> None:
    with pytest.raises(Oversize):
        parse_signals(b"[" * (MAX_SIGNALS + 1))
    with pytest.raises(Oversize):
        parse_signals(b"{}\n" * 100)
    with pytest.raises(Malformed):
        parse_sdp("v=0\r\n" + "a=x\r\n" * 1000, kind="offer")


_ice_chars = "abcxyzABCXYZ0189+/"
_candidates = st.builds(
    Candidate,
    type=st.sampled_from(["host", "srflx", "relay"]),
    address=st.one_of(
        st.integers(1, 200).map(lambda last: f"192.0.2.{last}"),
        st.integers(1, 60_000).map(lambda last: f"2001:db8::{last:x}"),
    ),
    port=st.integers(1, 65_535),
)
_transports = st.builds(
    Transport,
    ufrag=st.text(_ice_chars, min_size=4, max_size=256),
    pwd=st.text(_ice_chars, min_size=22, max_size=256),
    fingerprint=st.binary(min_size=32, max_size=32),
    setup=st.sampled_from([Setup.ACTIVE, Setup.PASSIVE]),
    candidates=st.lists(_candidates, max_size=MAX_CANDIDATES, unique=True).map(tuple),
)
_sessions = st.builds(
    Session,
    kind=st.sampled_from(["offer", "answer"]),
    transport=_transports,
    mid=st.text("abcXYZ019_-{}|", min_size=1, max_size=32),
    bundled=st.booleans(),
    sctp_port=st.integers(1, 65_535),
    max_message=st.one_of(st.just(0), st.integers(256, 9_999_999_999)),
    answers=st.one_of(st.just(""), st.text(_ice_chars, min_size=4, max_size=256)),
)


@given(session=_sessions)
def test_what_we_write_is_read_as_what_it_was_written_from(session: Session) -> None:
    assert parse_sdp(write_sdp(session), kind=session.kind) == session
    signal = write_signal(session)
    assert signal.count(b"\n") == 1
    assert signal.endswith(b"\n")
    assert parse_signals(signal) == parse_signals(signal.rstrip())
    assert parse_signals(signal).session == session


@given(
    at=st.integers(0, len(CHROMIUM)),
    length=st.integers(0, 40),
    put=st.text(max_size=40),
    kind=st.sampled_from(["offer", "answer"]),
)
def test_whatever_is_done_to_a_description_it_is_refused_or_can_be_written_again(
    at: int, length: int, put: str, kind: str
) -> None:
    changed = CHROMIUM[:at] + put + CHROMIUM[at + length :]
    try:
        session = parse_signals(json.dumps({"type": kind, "sdp": changed}).encode()).session
    except SignalError as refusal:
        assert refusal.hint
        return
    assert session is not None
    assert parse_sdp(write_sdp(session), kind=session.kind) == session
    assert msgspec.json.decode(write_signal(session))["type"] == kind
