"""The exchange of signaling/meet.py carried out at a hub: one request at a time, waiting where told to."""

import secrets
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

import trio

from signaling.hub_client import HubAway, chunks_of, in_words, new_client, whole
from signaling.meet import Exchange, Later, Outcome, Party

if TYPE_CHECKING:
    import httpx

PATIENCE: Final = 10.0
"""Seconds without the hub, once it was there, until we give up."""
_HELD: Final = 90.0  # seconds; a hub holds a request for fifteen, or as long as it likes
_MAX_BUSY: Final = 60.0  # seconds that a hub may put us off
_SOME_TIME: Final = 1.0
_CONNECT: Final = 5.0
_MAX_REPLY: Final = 64 * 1024
_BACKOFF: Final = (0.2, 0.5, 1.0, 2.0, 4.0)


class MeetClient:
    """One party at one hub. `url` as hub_url returned it. Its connections end with the block."""

    def __init__(
        self, url: str, party: Party, *, tell: Callable[[str], None] = lambda _message: None
    ) -> None:
        self._where = f"{url}/v1/meet"
        self._http = new_client(url)
        self._exchange = Exchange(party)
        self._tell = tell
        self._reached = False
        self.round_trips = 0
        """Requests that were answered."""
        self.renew()

    def renew(self) -> None:
        """Be somebody new to the hub, unless we sign: whom we met without success may be met again."""
        self._headers = {"Content-Type": "application/json", "Pigeon-Client": secrets.token_hex(8)}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with trio.CancelScope(shield=True):
            await self._http.aclose()

    async def offer(self, payload: bytes) -> Outcome:
        """Show an offer. Offered, Answered, Nobody or Unfit; HubAway, HubRefused."""
        return await self._carry_out(lambda now: self._exchange.offer(payload, now=now))

    async def bounce(self, payload: bytes) -> Outcome:
        """Give the offer back that came last, and show this one; the same outcomes."""
        return await self._carry_out(lambda now: self._exchange.bounce(payload, now=now))

    async def answer(self, payload: bytes) -> Outcome:
        """Answer the offer that came last. Delivered, Offered, Nobody or Unfit; HubAway, HubRefused."""
        return await self._carry_out(lambda now: self._exchange.answer(payload, now=now))

    async def _carry_out(self, make: Callable[[int], bytes]) -> Outcome:
        body = make(int(time.time()))
        give_up = trio.current_time() + _MAX_BUSY
        while trio.current_time() < give_up:
            status, said, retry_after = await self._post(body)
            outcome = self._exchange.receive(status, said, retry_after=retry_after)
            if not isinstance(outcome, Later):
                return outcome
            await trio.sleep(outcome.seconds)
        raise HubAway("The hub is too busy.", "Try again in a few minutes.")

    async def _post(self, body: bytes) -> tuple[int, bytes, str]:
        """Until the hub answers; HubAway when it was never there, or is away for too long."""
        failed = 0
        give_up = trio.current_time() + PATIENCE
        while True:
            began = trio.current_time()
            try:
                return await self._post_once(body)
            except HubAway as error:
                if _was_broken(error) and trio.current_time() - began >= _SOME_TIME:  # it was held before
                    self._reached = True
                    give_up = trio.current_time() + PATIENCE
                if not self._reached or trio.current_time() >= give_up:
                    raise
                if not failed:
                    self._tell(f"{error.message} Trying again.")
            await trio.sleep(_BACKOFF[min(failed, len(_BACKOFF) - 1)])
            failed += 1

    async def _post_once(self, body: bytes) -> tuple[int, bytes, str]:
        import httpx

        timeout = httpx.Timeout(_HELD, connect=_CONNECT)
        # In all, too: a hub may say a byte now and then, or nothing but that an answer will follow.
        with in_words(), trio.move_on_after(_HELD):
            request = self._http.build_request(
                "POST", self._where, content=body, headers=self._headers, timeout=timeout
            )
            request.stream = whole(body)
            response = await self._http.send(request, stream=True)
            said = bytearray()
            async with chunks_of(response) as chunks:
                async for chunk in chunks:
                    said += chunk
                    if len(said) > _MAX_REPLY:
                        raise HubAway("What this hub answers is too long.", "Use another hub.")
            self._reached = True
            self.round_trips += 1
            return response.status_code, bytes(said), _header(response)
        raise HubAway("The hub does not answer.")


def _was_broken(error: HubAway) -> bool:
    """Whether a connection that was there ended, while one that never came about, or was silent, is none."""
    import httpx

    return isinstance(error.__cause__, httpx.ReadError | httpx.RemoteProtocolError)


def _header(response: "httpx.Response") -> str:
    return str(response.headers.get("retry-after", ""))
