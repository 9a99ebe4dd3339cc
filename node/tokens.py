"""Tokens as people meet them: in what they pasted, in a picture, to be drawn; told by kind."""

import os
import re
import stat
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from node.errors import Exit, NodeError, UsageError
from signaling.carrier import Hands
from signaling.carriers import carrier_from_spec
from signaling.description import decode_offer
from signaling.errors import SignalError, TokenCut
from signaling.token import PREFIX, Kind, find_tokens, from_token

# What nobody writes by chance: our prefix and a first stretch of base32 or, out of a picture, base45.
_BEGINS: Final = re.compile(rf"(?i:{PREFIX})(?:[A-Z2-7]{{8}}|[a-z2-7]{{24}}|\$[0-9A-Z $%*+\-./:]{{8}})")
_FRAME: Final = " >|*_~`\"'\\=()[]<\u2502\u2503"  # what quoting and marking up leave at the ends of a line
_GOES_ON: Final = re.compile(r"[A-Z2-7=]+|[a-z2-7=]{16,}|[0-9A-Z $%*+\-./:]{16,}|.*\b[A-Z2-7]{16,}")


@dataclass(frozen=True, slots=True)
class Token:
    """One whole token on one line. `kind`: `offer`, `answer` or `invitation`."""

    text: str
    kind: str
    beside: tuple[str, ...] = ()
    """Other whole tokens of the same text: which one is of use, only a node can tell."""

    @property
    def lines(self) -> str:
        """All of them, each on a line."""
        return "\n".join((self.text, *self.beside))


@dataclass(frozen=True, slots=True)
class NoToken:
    """Something that begins like one and is none. `cut`: its end is missing, and more text may bring it."""

    message: str
    hint: str
    cut: bool


def find(text: str) -> Token | NoToken | None:
    """The tokens in a pasted text, whatever stands around them; None where nothing even begins like one."""
    if PREFIX not in text.lower():
        return None
    try:
        first, *beside = find_tokens(text)
        return replace(token_of(first), beside=tuple(beside))
    except SignalError as error:
        if not _BEGINS.search(text):
            return None
        return NoToken(error.message, error.hint, cut=isinstance(error, TokenCut))


def token_of(text: str) -> Token:
    """One that is known to be whole; SignalError for anything else."""
    kind, _ = from_token(text)
    return Token(text, kind.name.lower())


def goes_on(line: str) -> bool:
    """Whether this may be a further line of a token that was wrapped."""
    visible = "".join(filter(str.isprintable, line))
    return _GOES_ON.fullmatch(visible.strip(_FRAME)) is not None


def kind_of(text: str) -> str:
    """Of a token that a node shows; `invitation` where this program does not know it."""
    found = find(text)
    return found.kind if isinstance(found, Token) else "invitation"


def invites(offer: str) -> bool:
    """Whether newcomers come in with it; else it is for who is a member already."""
    try:
        _, payload = from_token(offer, expected=Kind.OFFER)
        return decode_offer(payload, room=None, me=None, now=int(time.time())).invites
    except SignalError:
        return True  # over, or of a kind to come: most are shown to invite


def carried_by_hand(via: Sequence[str]) -> bool:
    """Whether people carry the tokens of one of these carriers."""
    try:
        return any(isinstance(carrier_from_spec(spec), Hands) for spec in via)
    except SignalError:
        return False  # of a node that knows more carriers than we do


def drawn_as_pictures(via: Sequence[str]) -> bool:
    """Whether one of these carriers is about QR codes."""
    return any(spec.partition(":")[0] == "qr" for spec in via)


def draw_png(token: str) -> bytes:
    """A PNG of its QR code."""
    from signaling import pictures

    return pictures.draw_png(token)


def draw_text(token: str, *, color: bool) -> str:
    """Its QR code in half blocks, for a terminal; without colours only where it takes none."""
    from signaling import pictures

    return pictures.draw_text(token, color=color)


def read_picture(path: Path) -> list[Token]:
    """Every token in the QR codes of a picture file, each once; NodeError for one that cannot be read.

    Blocks for about a second at most.
    """
    from signaling.pictures import MAX_FILE, read_codes

    try:
        return [token_of(code) for code in read_codes(_read_file(path, limit=MAX_FILE))]
    except SignalError as error:
        raise NodeError(f"{path.name}: {error.message}", error.hint, exit_code=Exit.COULD_NOT_CHECK) from None


def _read_file(path: Path, *, limit: int) -> bytes:
    """One byte more than the limit where it is larger; nothing that could keep us waiting is opened."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise UsageError(f"{path} is not a picture file.", "Name a PNG or JPEG file.")
        with os.fdopen(descriptor, "rb") as file:
            return file.read(limit + 1)
    except OSError as error:
        raise NodeError(
            f"{path} cannot be read: {error.strerror or error}.",
            "Check its name and permissions.",
            exit_code=Exit.COULD_NOT_CHECK,
        ) from error
