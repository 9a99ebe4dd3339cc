"""STUN and TURN servers as a user names them: parsed, merged with what a room remembers, and what each said.

No server is asked anything unless it is named here. TURN secrets stand in a file that is read anew for each
connection, so that credentials which expire can be renewed in place; a room remembers where the file is, and
never what is in it.
"""

import ipaddress
import os
import re
import stat
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, Self

import msgspec

from node.errors import NodeError, UsageError

MAX_STUN: Final = 4
DEFAULT_PORT: Final = 3478
NONE: Final = "none"
"""Instead of a server or a file: forget those that the room remembers."""

_MAX_FILE: Final = 16 * 1024
_MAX_TEXT: Final = 508  # bytes of a user name or a password (RFC 8489, 14.3)
_HOST_NAME: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]{0,251}[A-Za-z0-9_.])?")
_FORM: Final = 'Its form is {"urls": "turn:HOST:PORT", "username": "...", "credential": "..."}.'

Kind = Literal["stun", "turn"]
FindingError = Literal[
    "",
    "unresolved",  # the name leads to no address
    "unroutable",  # this machine has no way there
    "refused",  # nobody listens at that port
    "silent",
    "credentials",  # user name or password are wrong or have expired
    "forbidden",
    "gone",  # it had given an address, and does not know of it any more
    "full",  # no more allocations for this user, or for anybody
    "odd",  # what it says makes no sense
    "file",  # the file with the credentials cannot be used
]
Mapping = Literal["open", "one port", "port for each"]


class TurnFileError(UsageError):
    """The file with the TURN server and its credentials cannot be used."""


@dataclass(frozen=True)
class Server:
    """Where a server is: a name or a literal address, and a UDP port."""

    host: str
    port: int = DEFAULT_PORT

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True)
class TurnServer:
    """A TURN server over UDP with long-term credentials, or those of coturn's REST scheme (EXPIRY:NAME)."""

    server: Server
    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class IceServers:
    """What to ask for addresses; nothing by default. relay_only: no address but a relayed one is shown."""

    stun: tuple[Server, ...] = ()
    turn_file: Path | None = None
    relay_only: bool = False

    @classmethod
    def remembered(cls, *, stun: Sequence[str], turn_file: str, relay_only: bool) -> Self:
        """From a room's settings; UsageError where somebody edited them."""
        servers = tuple(parse_server(each, scheme="stun") for each in stun)[:MAX_STUN]
        return cls(stun=servers, turn_file=Path(turn_file) if turn_file else None, relay_only=relay_only)

    def to_settings(self) -> dict[str, Any]:
        """For RoomConfig, by the names of its fields."""
        return {
            "stun": tuple(str(each) for each in self.stun),
            "turn_file": "" if self.turn_file is None else str(self.turn_file),
            "relay_only": self.relay_only,
        }


@dataclass(frozen=True, kw_only=True)
class IceOptions:
    """What a command line says; None or nothing leaves what is remembered as it is."""

    stun: tuple[str, ...] = ()
    turn_file: Path | None = None
    relay_only: bool | None = None

    def __bool__(self) -> bool:
        return bool(self.stun) or self.turn_file is not None or self.relay_only is not None

    def over(self, remembered: IceServers) -> IceServers:
        """What holds now; UsageError for what is none, TurnFileError for the file. Blocking."""
        stun, turn_file, relay_only = remembered.stun, remembered.turn_file, remembered.relay_only
        if self.stun:
            named = dict.fromkeys(self.stun)
            stun = () if set(named) == {NONE} else tuple(parse_server(each, scheme="stun") for each in named)
        if len(stun) > MAX_STUN:
            raise UsageError(f"At most {MAX_STUN} STUN servers can be asked.", "Two are enough.")
        if self.turn_file is not None:
            turn_file = None if str(self.turn_file) == NONE else self.turn_file.expanduser().absolute()
        if self.relay_only is not None:
            relay_only = self.relay_only
        if relay_only and turn_file is None:
            raise UsageError(
                "--relay-only needs a TURN server, for only its address may be shown.",
                "Give one with --turn-file FILE, or take it back with --no-relay-only.",
            )
        if turn_file is not None:
            read_turn_file(turn_file)
        return IceServers(stun=stun, turn_file=turn_file, relay_only=relay_only)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What one server said to one socket of ours, or why it did not. `seconds`: how long that took."""

    kind: Kind
    server: str
    local: tuple[str, int] | None = None
    """The socket that asked; never shown to others."""
    found: tuple[str, int] | None = None
    """Of `stun`: our address as it is seen from there; of `turn`: the relayed one."""
    error: FindingError = ""
    detail: str = ""
    seconds: float = 0.0


def mapping_of(findings: Collection[Finding]) -> Mapping | None:
    """What stands between us and the servers; None if that cannot be told.

    "open": no address translation. "one port": a router shows one port of its own for each socket, so that
    others reach us by it. "port for each": it shows every destination another one ("symmetric"), which no
    server can tell in advance; it takes two servers that answered the same socket to see it.
    """
    seen: dict[tuple[str, int], set[tuple[str, int]]] = {}
    for each in findings:
        if each.kind == "stun" and each.local is not None and each.found is not None:
            seen.setdefault(each.local, set()).add(each.found)
    if any(len(found) > 1 for found in seen.values()):
        return "port for each"
    if not seen:
        return None
    return "open" if any({local} == found for local, found in seen.items()) else "one port"


_WHY: Final[dict[FindingError, str]] = {
    "": "answers",
    "unresolved": "is not found: its name leads to no address",
    "unroutable": "cannot be reached: this machine has no way there",
    "refused": "is not there: nobody listens at that port",
    "silent": "does not answer",
    "credentials": "does not take this user name and password",
    "forbidden": "forbids it",
    "gone": "does not know of our address any more",
    "full": "has no address left for this user",
    "odd": "answers with nonsense",
    "file": "",
}
_CURE: Final[dict[FindingError, str]] = {
    "": "",
    "unresolved": "Check the name, and that this machine can resolve names.",
    "unroutable": "Check the network.",
    "refused": "Check the port, and that the server runs.",
    "silent": "Check that the server runs, and that no firewall drops UDP on the way.",
    "credentials": "Check the TURN file; credentials may have expired.",
    "forbidden": "Ask whoever runs the server.",
    "gone": "It was restarted, perhaps: try again.",
    "full": "Wait, or ask whoever runs the server for a higher quota.",
    "odd": "Check that it is a server of this kind.",
    "file": "Put the file back, with mode 0600, or name another one with --turn-file.",
}


def in_words(finding: Finding) -> str:
    """One sentence about a server that failed."""
    if finding.error == "file":
        return finding.detail
    detail = f" ({finding.detail})" if finding.detail else ""
    return f"The {finding.kind.upper()} server {finding.server} {_WHY[finding.error]}{detail}."


def cure(finding: Finding | None) -> str:
    """What to do about it."""
    return _CURE["silent" if finding is None else finding.error]


def troubles(findings: Collection[Finding]) -> dict[str, str]:
    """A sentence for each server that answered none of our sockets, by its name."""
    answered = {(each.kind, each.server) for each in findings if not each.error}
    failed = [each for each in findings if each.error and (each.kind, each.server) not in answered]
    found: dict[str, str] = {}
    for each in failed:
        name = f"The {each.kind.upper()} server {each.server}" if each.error != "file" else "The TURN file"
        found.setdefault(name, f"{in_words(each)} {cure(each)}")
    return found


def parse_server(text: str, *, scheme: Kind) -> Server:
    """HOST, HOST:PORT, [IPv6]:PORT, or one of these as a stun: or turn: URI (RFC 7064, 7065); UsageError."""
    shown = text if len(text) <= 80 else f"{text[:80]}…"
    wrong = UsageError(f"This is no {scheme.upper()} server: {shown!r}.", "Its form is HOST or HOST:PORT.")
    rest = text.removeprefix(f"{scheme}:")
    if rest.isdigit():
        rest = text  # a host of that name, and its port
    host, port = rest, ""
    if rest.startswith("["):
        host, end, tail = rest[1:].partition("]")
        if not end or (tail and not tail.startswith(":")) or tail == ":":
            raise wrong
        port = tail[1:]
    elif rest.count(":") == 1:
        host, _, port = rest.partition(":")
        if not port:
            raise wrong
    if port and not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) < 65_536):
        raise wrong
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        # Resolvers take 127.1 and 3478 for addresses.
        if not _HOST_NAME.fullmatch(host) or host.rstrip(".").rpartition(".")[2].isdigit():
            raise wrong from None
    else:
        if address.is_multicast or address.is_unspecified or "%" in host:
            raise wrong
        host = str(address)
    return Server(host, int(port) if port else DEFAULT_PORT)


def read_turn_file(path: Path) -> TurnServer:
    """The server in a file as browsers and providers write one (RTCIceServer); TurnFileError. Blocking."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise TurnFileError(f"The TURN file {path} is no plain file.", _FORM)
            if status.st_mode & 0o077:
                raise TurnFileError(
                    f"The TURN file {path} holds a secret, and others may read it.", f"chmod 600 {path}"
                )
            text = file.read(_MAX_FILE + 1)
    except OSError as error:
        raise TurnFileError(
            f"The TURN file {path} cannot be read: {error.strerror or error}.",
            "Put it back, name another one with --turn-file, or forget it with --turn-file none.",
        ) from error
    try:
        return parse_turn(text)
    except NodeError as error:
        raise TurnFileError(f"The TURN file {path} cannot be used: {error.message}", error.hint) from error


class _IceServer(msgspec.Struct, frozen=True):
    """W3C WebRTC, 4.2.4. What else stands there is ignored."""

    urls: str | list[str] = ""
    url: str | list[str] = ""
    username: str = ""
    credential: str = ""
    password: str = ""


_ONE_OR_MANY: Final = msgspec.json.Decoder(_IceServer | list[_IceServer])


def parse_turn(text: bytes) -> TurnServer:
    """The first TURN server over UDP in one RTCIceServer object, or in a list of them; UsageError."""
    if len(text) > _MAX_FILE:
        raise UsageError("it is too large.", _FORM)
    try:
        found = _ONE_OR_MANY.decode(text)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise UsageError("it is no such JSON.", _FORM) from None  # without what stands there: a secret
    for each in found if isinstance(found, list) else [found]:
        urls = each.urls or each.url
        for url in [urls] if isinstance(urls, str) else urls:
            where, _, transport = url.partition("?")
            if url.startswith("turn:") and transport in ("", "transport=udp"):
                return _turn(where, username=each.username, password=each.credential or each.password)
    raise UsageError("it names no server that is reached over UDP.", f"{_FORM} Neither turns: nor tcp works.")


def _turn(where: str, *, username: str, password: str) -> TurnServer:
    if not username or not password:
        raise UsageError("the user name or the password is missing.", _FORM)
    if (
        max(len(username.encode()), len(password.encode())) > _MAX_TEXT
        or not (username + password).isprintable()
    ):
        raise UsageError("the user name or the password is none.", _FORM)
    return TurnServer(parse_server(where, scheme="turn"), username, password)
