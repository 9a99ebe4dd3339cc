"""Gets a token from whoever runs a command: an argument, a picture, standard input, or by asking."""

from pathlib import Path
from typing import Final, assert_never

from console.lines import BadLine, Line, LineReader
from console.out import Out, stdin_is_terminal
from console.pasted import PasteReader
from console.pictures import token_in_picture
from console.settings import Settings
from console.welcome import REST_OF_TOKEN
from node.errors import UsageError
from node.tokens import NoToken, Token, find

WAYS_IN: Final = ("offer", "invitation")
WAYS_BACK: Final = ("answer", "offer")
_MAX_ABOVE: Final = 64  # lines before the token, where nobody can be asked again
_NAMES: Final[dict[tuple[str, ...], str]] = {WAYS_IN: "the invitation", WAYS_BACK: "the token that came back"}


async def token_given(
    settings: Settings,
    token: str | None,
    scan: Path | None,
    *,
    lines: LineReader,
    wanted: tuple[str, ...],
) -> str:
    """A token, or each on a line where there are several, or what was typed in place of one; UsageError.

    `wanted`: kinds, in order of preference, for a picture with several. `-` and None: from `lines`, where
    other text may stand around it.
    """
    if scan is not None:
        if token is not None:
            raise UsageError("There is a TOKEN and a --scan.", "Give one of them.")
        return (await token_in_picture(scan, wanted=wanted)).text
    if token is None or token == "-":
        return await _ask(settings, lines, _NAMES[wanted])
    match found := find(token):
        case Token():
            return found.lines
        case NoToken(message=message, hint=hint):
            raise UsageError(message, hint)
        case None:
            return token.strip()


async def _ask(settings: Settings, lines: LineReader, what: str) -> str:
    """The first token in these lines, and those beside it; who typed something else is asked again.

    A mail that is piped in may have some lines above it.
    """
    asks, out = stdin_is_terminal(), Out(settings)

    async def wait_for_the_rest() -> None:
        await out.urgent(REST_OF_TOKEN)

    if asks:
        await out.urgent(f"Paste {what} (a line that begins with pigeon:), then Enter:")
    none = UsageError(
        f"There is no token on standard input: {what} is wanted.",
        "Give the line that begins with pigeon:, or a picture with --scan FILE.",
    )
    above = 0
    reader = PasteReader(lines, watch=lambda: True, on_wait=wait_for_the_rest)
    while (read := await reader.next()) is not None:
        match read:
            case Token():
                return read.lines
            case NoToken(message=message, hint=hint) | BadLine(reason=message, hint=hint):
                wrong = UsageError(message, hint)
            case Line(text=text) if not text.strip():
                continue
            case Line() if asks:
                await out.urgent(f"· This line holds no token; paste {what}, or Ctrl-C ends.")
                continue
            case Line() if above < _MAX_ABOVE:
                above += 1
                continue
            case Line():
                wrong = none
            case _:
                assert_never(read)
        if not asks:
            raise wrong
        await out.urgent(f"! {wrong.message}\n  {wrong.hint}")
    raise none
