"""What a person carries: tokens shown to be taken away, and those that came back, each of them one parcel."""

from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Final

import trio

from signaling.carrier import Parcel, ParcelKind, Shown, bare_parcel
from signaling.errors import CarrierError, OwnToken, WrongKind
from signaling.token import Kind, find_tokens, from_token, to_token

MAX_WAITING: Final = 64
_MAX_KNOWN: Final = 1024  # parcels remembered, so that a second time is none

_KINDS: Final = {ParcelKind.OFFER: Kind.OFFER, ParcelKind.ANSWER: Kind.ANSWER}
_PARCELS: Final = {kind: parcel for parcel, kind in _KINDS.items()}


class HandCarrier:
    """A Carrier and Hands; it touches nothing but its own memory."""

    bare = True

    def __init__(self, spec: str) -> None:
        self.spec = spec
        self._shown: dict[tuple[ParcelKind, bytes], Shown] = {}
        self._ours: dict[bytes, None] = {}
        self._came: dict[bytes, None] = {}
        self._waiting: deque[Parcel] = deque()
        self._news = trio.Event()
        self._tell: Callable[[], None] | None = None

    # The carrier

    async def send(self, parcel: Parcel) -> None:
        await trio.lowlevel.checkpoint()
        token = parcel_token(parcel)
        _remember(self._ours, parcel.key)
        if (parcel.kind, parcel.key) not in self._shown:
            self._shown[parcel.kind, parcel.key] = Shown(parcel.kind, token, parcel.expires)
            self._changed()

    async def withdraw(self, kind: ParcelKind, key: bytes) -> None:
        await trio.lowlevel.checkpoint()
        if self._shown.pop((kind, key), None) is not None:
            self._changed()

    def parcels(self) -> AsyncIterator[Parcel]:
        """What was accepted, each once; a second reader gets what the first one left."""
        return _Arrivals(self)

    async def next_parcel(self) -> Parcel:
        """Wait for the next one."""
        await trio.lowlevel.checkpoint()
        while not self._waiting:
            await self._news.wait()
        return self._waiting.popleft()

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()
        self._waiting.clear()
        if self._shown:
            self._shown.clear()
            self._changed()

    # The hands

    def shown(self) -> tuple[Shown, ...]:
        """What is to be carried now, oldest first."""
        return tuple(self._shown.values())

    def on_shown(self, tell: Callable[[], None]) -> None:
        """Call `tell` whenever that changes; one listener."""
        self._tell = tell

    def accept(self, text: str) -> ParcelKind:
        """Take the token in a text that came back; the same one twice is one parcel.

        Of several it is the first that is not ours: people copy what they sent along with what came back.
        SignalError says what is wrong with it: see find_token, and WrongKind, OwnToken, or CarrierError when
        more wait than anybody carries.
        """
        tokens = find_tokens(text)
        carried = [token for token in tokens if from_token(token)[0] in _PARCELS]
        parcels = [token_parcel(token) for token in carried or tokens]
        parcel = next((each for each in parcels if each.key not in self._ours), None)
        if parcel is None:
            raise OwnToken(f"This {parcels[0].kind.value} is the one that you show.")
        if parcel.key in self._came:
            return parcel.kind
        if len(self._waiting) >= MAX_WAITING:
            raise CarrierError("Too many tokens wait to be looked at.", "Try this one again in a minute.")
        _remember(self._came, parcel.key)
        self._waiting.append(parcel)
        self._news.set()
        self._news = trio.Event()
        return parcel.kind

    def _changed(self) -> None:
        if self._tell is not None:
            self._tell()


class _Arrivals:
    """No generator: one that is cancelled while it waits goes on afterwards."""

    def __init__(self, carrier: HandCarrier) -> None:
        self._carrier = carrier

    def __aiter__(self) -> "_Arrivals":
        return self

    async def __anext__(self) -> Parcel:
        return await self._carrier.next_parcel()


def parcel_token(parcel: Parcel) -> str:
    """The token of a bare parcel; ValueError for a kind that nobody carries by hand."""
    if parcel.kind not in _KINDS:
        raise ValueError(f"a bare carrier moves no {parcel.kind.value}")
    return to_token(_KINDS[parcel.kind], parcel.payload)


def token_parcel(token: str) -> Parcel:
    """The bare parcel that a token is; SignalError, WrongKind for an invitation."""
    kind, payload = from_token(token)
    if kind not in _PARCELS:
        raise WrongKind(
            f"This is an {kind.name.lower()}, not an offer or an answer.",
            "Join with it: pigeon join, then the token.",
        )
    return bare_parcel(_PARCELS[kind], payload)


def _remember(known: dict[bytes, None], key: bytes) -> None:
    known[key] = None
    while len(known) > _MAX_KNOWN:
        del known[next(iter(known))]
