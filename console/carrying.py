"""Tokens for people: the line to copy or the code to scan, how long it is good, and what to do with it."""

import time
from collections import deque
from typing import TYPE_CHECKING, Final

from console.countdown import ANSWER, OFFER, RECONNECT, Countdown
from console.out import Out
from node.tokens import invites

if TYPE_CHECKING:  # it is needed only where tokens are drawn
    from console.pictures import QrFile

_REMEMBERED: Final = 16  # tokens; one can be told of twice
_COUNTED: Final = {"offer": OFFER, "answer": ANSWER}  # an invitation is good for a day, and nobody waits

_RECONNECT: Final = "offer to a member"
_WHAT: Final = {
    "invitation": "Invitation for one person",
    "offer": "Offer for one person",
    _RECONNECT: "Offer to a member who is away",
    "answer": "Answer",
}
_DO: Final = {
    "invitation": (),
    _RECONNECT: (
        "It reconnects you: they paste it into their chat of this room (or type: pigeon carry TOKEN).",
        "One such line, of either of you, is enough.",
    ),
    "offer": (
        "Give it to the one you invite by a way that nobody else reads. They type:",
        "  pigeon join TOKEN --as NICK",
        "Often that is all. If they get an answer to send back, paste it here, or type: pigeon carry TOKEN",
    ),
    "answer": (
        "If you are not connected within seconds, send it back to whoever invited you, and keep this running",
        "until they have used it. After that time both of you need a new token.",
        "Used, and still no connection? `pigeon doctor`, at both ends, names what is in the way.",
    ),
}


class Carrying:
    """Shows each token once: itself on standard output, everything about it on standard error."""

    def __init__(self, out: Out, *, color: bool, qr_file: "QrFile | None" = None, draw: bool = False) -> None:
        """`draw`: as a QR code too, where there is a terminal for it."""
        self._out = out
        self._color = color
        self._qr_file = qr_file
        self._draw = draw or qr_file is not None
        self._shown: deque[str] = deque(maxlen=_REMEMBERED)
        self.countdown = Countdown(out)

    def draw(self) -> None:
        """From now on as a QR code too."""
        self._draw = True

    async def show(self, kind: str, token: str, *, expires: int) -> None:
        """One more token; `expires` in milliseconds since 1970. NodeError when --qr-out cannot be written."""
        if token in self._shown:
            return
        self._shown.append(token)
        if self._qr_file is not None:
            await self._qr_file.write(token)
        what = _RECONNECT if kind == "offer" and not invites(token) else kind
        await self._out.note(f"{_WHAT[what]} (good for {_left(expires)}):")
        await self._out.data(f"{token}\n".encode())
        for line in _DO[what]:
            await self._out.note(line)
        if self._qr_file is not None:
            await self._out.note(f"The same as a picture: {self._qr_file.path}")
        await self._show_code(token)  # last, or it would be scrolled away by what is said about it
        if kind in _COUNTED:
            counted = RECONNECT if what == _RECONNECT else _COUNTED[kind]
            self.countdown.add(token, what=counted, expires=expires / 1000)

    async def _show_code(self, token: str) -> None:
        if not self._draw:
            return
        from console.pictures import code_for_terminal, room_on_terminal

        room = room_on_terminal()
        if room is None:
            return
        code = await code_for_terminal(token, color=self._color)
        if code.fits(*room):
            await self._out.note(code.text)
        else:
            await self._out.note(
                f"(This terminal of {room[0]}x{room[1]} is too small for a QR code; make it "
                f"{code.columns}x{code.rows}, or use --qr-out FILE.)"
            )


def _left(expires: int) -> str:
    """How long a token is still good, in words."""
    seconds = max(0, expires // 1000 - int(time.time()))
    if seconds >= 3600:
        return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"
    return f"{seconds // 60} min" if seconds >= 120 else f"{seconds} s"
