"""What people paste, line by line, and the home's own memory of whom it met."""

import msgspec

from console.lines import Line
from console.pasted import Collector
from node.acquaintance import MAX_KNOWN, BadBook, Met, merged, read_book, surprise
from node.tokens import NoToken, Token, find
from tests.fuzz.decoder import Decoder, Differs, Feed, Refused, scratch
from tests.fuzz.forms import JSON, TEXT
from tests.fuzz.picture_borders import pasted


def _pasted_feed() -> Feed:
    """Typed lines: each is said as it is, or was of a token; and no whole token is ever said."""

    def feed(data: bytes) -> object:
        collector, tokens = Collector(), 0
        lines = data.decode("utf-8", "replace").split("\n")
        rest = iter(lines)
        outcomes = [each for line in lines for each in collector.feed(line)] + collector.give_up()
        for each in outcomes:
            match each:
                case Line(text=text):
                    if text not in rest:  # takes what comes before it out, too
                        raise Differs(f"nobody typed {text!r}, or earlier")
                    if not text.startswith("/") and isinstance(find(text), Token):
                        raise Differs(f"a token is said: {text!r}")
                case Token():
                    tokens += 1
                case NoToken(message=message, hint=hint):
                    assert message and hint
        if collector.collecting:
            raise Differs("it never ends")
        if not tokens:
            raise Refused
        return outcomes

    return feed


def _books() -> list[bytes]:
    met = [
        Met(f"{number:064x}", nick, "tea", number, 2 * number) for number, nick in enumerate(("bob", "ß", ""))
    ]
    return [msgspec.json.encode({"known": known, "version": 1}) for known in ([], met[:1], met)]


def _book_feed() -> Feed:
    path = scratch() / "acquaintances.json"

    def feed(data: bytes) -> object:
        path.write_bytes(data)
        known = read_book(path)
        assert len(merged(known, known)) <= MAX_KNOWN
        for met in known[:4]:
            assert surprise(known, member=met.member, nick=met.nick) is None
            surprise(known, member="another", nick=met.nick)
        return known

    return feed


DECODERS = [
    Decoder(name="pasted lines", form=TEXT, samples=pasted, make=_pasted_feed, refuses=()),
    Decoder(name="acquaintances", form=JSON, samples=_books, make=_book_feed, refuses=(BadBook,)),
]
