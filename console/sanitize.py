"""Nothing that somebody else wrote may steer a terminal: no escape sequence, no control, no bidi override."""

import re
import unicodedata

_ESCAPES = re.compile(
    # A string with its end. It holds no second beginning: many of them would take quadratic time.
    r"(?:\x1b[\]PX^_]|[\x90\x98\x9d\x9e\x9f])[^\x07\x1b\x90\x98\x9c-\x9f]*(?:\x07|\x1b\\|\x9c)"
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor, erase
    r"|\x1b[ -/]*[0-~]?"  # the rest, also the beginning of a string that never ends
)
_JOINERS = "\u200c\u200d"  # Persian, Indic and emoji need these two, and they move nothing
_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})


def one_line(text: str) -> str:
    """The text on one line, fit for a terminal."""
    return _plain(text.replace("\r\n", " ").replace("\n", " ").replace("\t", " "))


def paragraphs(text: str, *, indent: str) -> str:
    """The text fit for a terminal; further lines are indented, so that none can pose as a line of ours."""
    lines = text.replace("\r\n", "\n").replace("\t", "    ").split("\n")
    return f"\n{indent}".join(_plain(line) for line in lines)


def _plain(text: str) -> str:
    if text.isascii() and text.isprintable():
        return text
    text = _ESCAPES.sub("", text)
    return "".join(each for each in text if each in _JOINERS or unicodedata.category(each) not in _HIDDEN)


# May not stand raw in a line of JSON: DEL, C1, reading order, and what some readers take for a line's end.
_UNSAFE_IN_JSON = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


def json_line(encoded: bytes) -> bytes:
    """One line of JSON, the same value; what a terminal or `splitlines` would act upon is escaped."""
    text = encoded.decode()
    if not text.isascii() or "\x7f" in text:
        text = _UNSAFE_IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    return text.encode() + b"\n"
