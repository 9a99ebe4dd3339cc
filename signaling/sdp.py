"""The {"type", "sdp"} JSON of browsers and simple-peer, as typed fields and back; nothing else sees SDP.

What comes from elsewhere is measured, parsed strictly into a Session and dropped; what leaves is written from
one. A data channel is all that a Session can ask for. Sources: RFC 8829 (JSEP), 8839 (ICE), 8841 (SCTP).
"""

import hashlib
import ipaddress
import re
from collections.abc import Iterator, Sequence
from typing import Final, Literal

import msgspec

from signaling.candidates import MAX_CANDIDATES, Candidate, CandidateType, is_one_host
from signaling.description import Setup, Transport
from signaling.errors import Malformed, Oversize, SignalError

MAX_SIGNALS: Final = 64 * 1024  # bytes; a browser's offer of one data channel has one to three thousand
_MAX_LINES: Final = 512
_MAX_OBJECTS: Final = 64

SCTP_PORT: Final = 5000
DEFAULT_MAX_MESSAGE: Final = 65_536  # what a missing max-message-size means (RFC 8841, 6.1)
LEAST_MAX_MESSAGE: Final = 256
OUR_MAX_MESSAGE: Final = 256 * 1024

SdpKind = Literal["offer", "answer"]

_ICE_UFRAG: Final = re.compile(r"[A-Za-z0-9+/]{4,256}")
_ICE_PWD: Final = re.compile(r"[A-Za-z0-9+/]{22,256}")
_FINGERPRINT: Final = re.compile(r"[0-9A-F]{2}(?::[0-9A-F]{2}){31}")
_MID: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`{|}~-]{1,32}")  # a token of RFC 8866
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,9}")
_LINE: Final = re.compile(r"[a-z]=[^\0\r\n]*")
_CANDIDATE: Final = re.compile(
    r"(?:a=)?candidate:[A-Za-z0-9+/]{1,32} ([1-9][0-9]{0,2}) ([A-Za-z-]{1,16}) [0-9]{1,10} "
    r"([A-Za-z0-9.:-]{1,255}) ([0-9]{1,5}) typ ([a-z]{1,16})(?: .{0,512})?"
)
_SETUPS: Final = {setup.name.lower(): setup for setup in Setup}
_TYPES: Final[dict[str, CandidateType]] = {"host": "host", "srflx": "srflx", "relay": "relay"}
_PREFERENCES: Final = {"host": 126, "srflx": 100, "relay": 0}  # RFC 8445, 5.1.2.2
_ONCE: Final = ("ice-ufrag", "ice-pwd", "setup", "mid", "sctp-port", "max-message-size", "group")
_NAME: Final = "pigeon answers "  # begins the session's name, which is free text
_HINT: Final = "Make a new one at the other end, with a data channel and nothing else in it."


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """An offer or an answer for one SCTP association, as far as it concerns us."""

    kind: SdpKind
    transport: Transport
    mid: str = "0"
    """Names the one section; an answer repeats the offer's."""
    bundled: bool = True
    """Whether the section stands in a BUNDLE group, which an answer repeats, too."""
    sctp_port: int = SCTP_PORT
    max_message: int = OUR_MAX_MESSAGE
    """Bytes of the largest message it takes; 0: any."""
    answers: str = ""
    """Of an answer of ours: the ICE name of the offer it is to; others do not say that."""


class Signals(msgspec.Struct, frozen=True, kw_only=True):
    """What one text held: at most one description, and the candidates that were trickled beside it."""

    session: Session | None
    candidates: tuple[Candidate, ...]


class _TrickledCandidate(msgspec.Struct, frozen=True):
    candidate: str | None = None


class _Signal(msgspec.Struct, frozen=True):
    """One object of any of the forms in use; what else stands in it is ignored."""

    type: str | None = None
    sdp: str | None = None
    candidate: str | _TrickledCandidate | None = None


_ONE_OR_MANY: Final = msgspec.json.Decoder(_Signal | list[_Signal])
_LINES: Final = msgspec.json.Decoder(_Signal)


class NotYet(Malformed):
    """No JSON, or not the whole of it; perhaps the rest is still on its way."""

    message = "This is not the JSON of a session description, or its end is missing."
    hint = 'Give the whole {"type": ..., "sdp": ...} object that the other side made.'


def parse_signals(data: bytes) -> Signals:
    """Take in what somebody else made: an object, a list of them, or one a line; SignalError, NotYet.

    Understood are {"type": "offer" | "answer", "sdp"}, {"candidate": "candidate:..."} as a browser writes
    one, and {"candidate": {"candidate": "candidate:..."}} as simple-peer does. Names and TCP addresses are
    dropped.
    """
    if len(data) > MAX_SIGNALS:
        raise Oversize("This is larger than any session description.", _HINT)
    session: Session | None = None
    candidates: list[Candidate] = []
    for signal in _objects(data):
        if signal.sdp is not None:
            if signal.type not in ("offer", "answer"):
                raise _bad(f"its type is {str(signal.type)[:20]!r}")
            found = parse_sdp(signal.sdp, kind="offer" if signal.type == "offer" else "answer")
            if session not in (None, found):
                raise _bad("there are two of them")
            session = found
        elif signal.candidate is not None:
            text = signal.candidate if isinstance(signal.candidate, str) else signal.candidate.candidate
            candidates += [] if not text else _candidates([text])
    return Signals(session=session, candidates=_first(candidates))


def write_signal(session: Session) -> bytes:
    """Our {"type", "sdp"} as one line of JSON."""
    return msgspec.json.encode({"type": session.kind, "sdp": write_sdp(session)}) + b"\n"


def parse_sdp(text: str, *, kind: SdpKind) -> Session:
    """The fields of foreign SDP that describe its data channel; SignalError for what cannot be used."""
    if len(text) > MAX_SIGNALS:
        raise Oversize("This is larger than any session description.", _HINT)
    lines = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
    if len(lines) > _MAX_LINES or not all(_LINE.fullmatch(line) for line in lines):
        raise _bad("its lines are not those of SDP")
    if lines[0] != "v=0":
        raise _bad("it does not begin with v=0")
    starts = [at for at, line in enumerate(lines) if line.startswith("m=")]
    if len(starts) != 1 or not lines[starts[0]].startswith("m=application "):
        raise _bad("it asks for something else than one data channel")
    _check_media(lines[starts[0]])
    # What is not said of the section is said of all sections: Firefox does so with the fingerprint.
    common, own = _attributes(lines[: starts[0]]), _attributes(lines[starts[0] + 1 :])
    said = common | own
    if "ice-lite" in said:
        raise _bad("it comes from an ICE-lite end, which only answers checks")
    mid = _matching(_MID, own.get("mid", ["0"])[0], "name of its section")
    return Session(
        kind=kind,
        transport=Transport(
            ufrag=_matching(_ICE_UFRAG, _only(said, "ice-ufrag"), "ICE name"),
            pwd=_matching(_ICE_PWD, _only(said, "ice-pwd"), "ICE password"),
            fingerprint=_fingerprint(said.get("fingerprint", [])),
            setup=_setup(_only(said, "setup"), kind=kind),
            candidates=_first(_candidates(f"candidate:{each}" for each in own.get("candidate", []))),
        ),
        mid=mid,
        bundled=mid in common.get("group", [""])[0].split(" ")[1:] and common["group"][0][:7] == "BUNDLE ",
        sctp_port=_number(own.get("sctp-port", [str(SCTP_PORT)])[0], least=1, most=65_535),
        max_message=_max_message(own.get("max-message-size", [str(DEFAULT_MAX_MESSAGE)])[0]),
        answers=_answered(lines[: starts[0]]),
    )


def write_sdp(session: Session) -> str:
    """The SDP of one data channel."""
    transport = session.transport
    number = int.from_bytes(
        hashlib.sha256(transport.ufrag.encode() + transport.fingerprint).digest()[:7], "big"
    )
    lines = [
        "v=0",
        f"o=- {number} 1 IN IP4 127.0.0.1",
        f"s={_NAME}{session.answers}" if session.answers else "s=-",
        "t=0 0",
        *([f"a=group:BUNDLE {session.mid}"] if session.bundled else []),
        "m=application 9 UDP/DTLS/SCTP webrtc-datachannel",
        "c=IN IP4 0.0.0.0",
        *(_candidate_line(each, at) for at, each in enumerate(transport.candidates)),
        "a=end-of-candidates",
        f"a=ice-ufrag:{transport.ufrag}",
        f"a=ice-pwd:{transport.pwd}",
        f"a=fingerprint:sha-256 {transport.fingerprint.hex(':').upper()}",
        f"a=setup:{transport.setup.name.lower()}",
        f"a=mid:{session.mid}",
        f"a=sctp-port:{session.sctp_port}",
        f"a=max-message-size:{session.max_message}",
    ]
    return "".join(f"{line}\r\n" for line in lines)


def _objects(data: bytes) -> Sequence[_Signal]:
    # A line break is nothing between two parts of an object and illegal within one: a text that was wrapped
    # on its way is mended by taking them out. Where each line is an object of its own, that reads as none.
    try:
        found = _ONE_OR_MANY.decode(data.replace(b"\r", b"").replace(b"\n", b""))
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        try:
            found = _LINES.decode_lines(data)
        except (msgspec.DecodeError, RecursionError, UnicodeError):
            raise NotYet from None
    objects = found if isinstance(found, list) else [found]
    if not objects:
        raise NotYet
    if len(objects) > _MAX_OBJECTS:
        raise Oversize("These are more objects than any exchange has.", _HINT)
    return objects


def _check_media(line: str) -> None:
    port, protocol, what = [*line.split(" "), "", "", ""][1:4]
    if port == "0":
        raise _bad("the other side refuses a data channel")
    if protocol != "UDP/DTLS/SCTP" or what != "webrtc-datachannel":
        raise _bad("its data channel is of another kind than WebRTC's")


def _attributes(lines: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in lines:
        if line.startswith("a="):
            name, _, value = line[2:].partition(":")
            found.setdefault(name, []).append(value)
    for name in _ONCE:
        if len(found.get(name, [])) > 1:
            raise _bad(f"{name} stands there twice")
    return found


def _answered(lines: Sequence[str]) -> str:
    names = [line[2 + len(_NAME) :] for line in lines if line.startswith(f"s={_NAME}")]
    return names[0] if names and _ICE_UFRAG.fullmatch(names[0]) else ""


def _only(said: dict[str, list[str]], name: str) -> str:
    if name not in said:
        raise _bad(f"{name} is missing")
    return said[name][0]


def _matching(shape: re.Pattern[str], value: str, what: str) -> str:
    if not shape.fullmatch(value):
        raise _bad(f"the {what} is none")
    return value


def _fingerprint(values: Sequence[str]) -> bytes:
    """The one SHA-256 fingerprint among those of all algorithms."""
    found = {
        value.upper() for algorithm, _, value in (each.partition(" ") for each in values)
        if algorithm.lower() == "sha-256"
    }  # fmt: skip
    if len(found) != 1:
        raise _bad("it needs one SHA-256 fingerprint")
    return bytes.fromhex(_matching(_FINGERPRINT, found.pop(), "fingerprint").replace(":", ""))


def _setup(value: str, *, kind: SdpKind) -> Setup:
    setup = _SETUPS.get(value)
    if setup is None or (kind == "answer" and setup is Setup.ACTPASS):
        raise _bad("nobody would begin the secure session")
    return setup


def _number(value: str, *, least: int, most: int) -> int:
    if not _NUMBER.fullmatch(value) or not least <= int(value) <= most:
        raise _bad("one of its numbers is none")
    return int(value)


def _max_message(value: str) -> int:
    size = _number(value, least=0, most=9_999_999_999)
    if 0 < size < LEAST_MAX_MESSAGE:
        raise _bad("it takes smaller messages than are worth sending")
    return size


def _candidates(lines: Sequence[str] | Iterator[str]) -> Iterator[Candidate]:
    """Those we can send to: UDP, a literal address, one host. A line of another shape is refused."""
    for line in lines:
        match = _CANDIDATE.fullmatch(line)
        if match is None:
            raise _bad("one of its addresses is none")
        component, protocol, address, port, kind = match.groups()
        if component != "1" or protocol.lower() != "udp" or kind not in _TYPES:
            continue
        try:
            literal = ipaddress.ip_address(address)
        except ValueError:
            continue  # a name; browsers hide addresses behind ones that end in .local
        if 0 < int(port) <= 65_535 and is_one_host(literal):
            yield Candidate(type=_TYPES[kind], address=str(literal), port=int(port))


def _first(candidates: Sequence[Candidate] | Iterator[Candidate]) -> tuple[Candidate, ...]:
    return tuple(dict.fromkeys(candidates))[:MAX_CANDIDATES]


def _candidate_line(candidate: Candidate, at: int) -> str:
    priority = _PREFERENCES[candidate.type] << 24 | (65_535 - at) << 8 | 255
    related = "" if candidate.type == "host" else " raddr 0.0.0.0 rport 0"
    where = f"{candidate.address} {candidate.port}"
    return f"a=candidate:{at + 1} 1 udp {priority} {where} typ {candidate.type}{related}"


def _bad(what: str) -> SignalError:
    return Malformed(f"This session description cannot be used: {what}.", _HINT)
