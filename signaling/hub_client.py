"""A hub as its client sees it: one address, posts, and a stream to listen to; httpx ends at this border.

What the hub says is only bytes, bounded. Redirects are not followed: who runs the hub does not choose where
else we knock. Proxies of the environment are not asked: the link itself goes past them, so they would hide
nothing, and most hubs stand in the same network.
"""

import os
import re
import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import trio

from signaling.errors import CarrierError

if TYPE_CHECKING:
    import httpx  # at run time only when a hub is used

SILENCE: Final = 45.0
"""Seconds that a stream may be silent; servers say something every 25 or 30."""
_CONNECT: Final = 5.0
_POST: Final = 10.0
_MAX_REPLY: Final = 16 * 1024
_MAX_WAIT: Final = 60.0  # seconds a hub may ask us to stay away
_BUSY: Final = 1.0  # seconds, when it does not say how long
_MAX_URL: Final = 180  # an invitation has room for so much
_HOST: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]{0,251}[A-Za-z0-9_])?\.?|\[[0-9A-Fa-f:.]{2,45}\]")
_PATH: Final = re.compile(r"(/[A-Za-z0-9._~-]+)*")
_USAGE: Final = "Write hub:https://host or hub:http://host:port."
_PORTS: Final = {"http": 80, "https": 443}
_HEADERS: Final = {"User-Agent": "pigeon", "Accept-Encoding": "identity"}


class HubAway(CarrierError):
    """The hub cannot be used now. `wait`: seconds that it asked not to be bothered."""

    message = "The hub cannot be reached."
    hint = "Check its address and your network; it is tried again by itself."
    wait = 0.0


def hub_url(where: str) -> str:
    """What follows "hub:", in one form, or CarrierError: it may come out of anybody's invitation."""
    if not where:
        raise CarrierError("hub: needs the address of a hub.", _USAGE)
    if "," in where:
        raise CarrierError("This is not one address.", "Give each hub a --via of its own.")
    try:
        parts = urlsplit(where)
        port = parts.port
    except ValueError:
        raise CarrierError(f"{where[:80]!r} is no address of a hub.", _USAGE) from None
    scheme, host = parts.scheme.lower(), parts.netloc.rpartition("@")[2]
    if "@" in parts.netloc:
        raise CarrierError("A hub's address holds no password.", _USAGE)
    if port is not None or host.endswith(":"):
        host = host.rpartition(":")[0]
    path = parts.path.rstrip("/")
    dots = any(part in (".", "..") for part in path.split("/"))
    if (
        len(where) > _MAX_URL
        or scheme not in _PORTS
        or not _HOST.fullmatch(host)
        or not _PATH.fullmatch(path)
        or dots
        or ".." in host
        or port == 0
        or "?" in where
        or "#" in where
    ):
        raise CarrierError(f"{where[:80]!r} is no address of a hub.", _USAGE)
    place = host.lower() if port in (None, _PORTS[scheme]) else f"{host.lower()}:{port}"
    return f"{scheme}://{place}{path}"


class HubClient:
    """One channel of one hub. Its connections are made when first used, and gone after aclose()."""

    def __init__(self, url: str, *, channel: str, app: str = "pigeon") -> None:
        """`url` as hub_url returned it; `app` and `channel`: ASCII letters and digits."""
        self._url = url
        self._where = f"{url}/v1/{app}/{channel}"
        self._client: httpx.AsyncClient | None = None
        self._closed = False
        self._busy: HubAway | None = None
        self._not_before = 0.0
        self.date = ""
        """The time by the hub's clock when it began to send to us (RFC 9110, 6.6.1)."""

    async def post(self, body: bytes) -> None:
        """Broadcast one message; HubAway when the hub did not take it, or asked us to wait."""
        import httpx

        if self._busy is not None and trio.current_time() < self._not_before:
            raise self._busy
        headers = {"Content-Type": "application/json"}
        with in_words(), trio.move_on_after(_POST):
            try:
                await self._post(body, headers)
            except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
                await self._post(body, headers)  # it had closed a connection that rested
            return
        raise HubAway("The hub does not answer.")

    async def _post(self, body: bytes, headers: dict[str, str]) -> None:
        request = self._opened().build_request("POST", self._where, content=body, headers=headers)
        request.stream = whole(body)
        response = await self._opened().send(request, stream=True)
        async with chunks_of(response) as chunks:
            left = _MAX_REPLY  # read, so that the connection can be used again
            async for chunk in chunks:
                left -= len(chunk)
                if left < 0:
                    break
        try:
            _check_status(response)
        except HubAway as away:
            if away.wait:
                self._busy, self._not_before = away, trio.current_time() + away.wait
            raise

    @asynccontextmanager
    async def listen(self, *, last_id: str = "") -> AsyncIterator[AsyncIterator[bytes]]:
        """What is broadcast from now on, and since `last_id` if the hub still has it: the stream's bytes.

        Who is inside is subscribed. HubAway when that fails or breaks; the bytes just end when the hub ends
        them.
        """
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-cache"}
        if last_id:
            headers["Last-Event-ID"] = last_id
        with in_words():
            request = self._opened().build_request("GET", self._where, headers=headers)
            response = None
            with trio.move_on_after(2 * _CONNECT):
                response = await self._opened().send(request, stream=True)
            if response is None:
                raise HubAway("The hub does not answer.")
            async with chunks_of(response) as chunks:
                _check_status(response)
                self.date = response.headers.get("date", "")
                kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
                encoding = response.headers.get("content-encoding", "identity").strip().lower()
                if kind != "text/event-stream" or encoding != "identity":
                    raise _no_hub()
                yield chunks

    async def aclose(self) -> None:
        """Let go of every connection."""
        self._closed = True
        client, self._client = self._client, None
        if client is not None:
            await client.aclose()

    def _opened(self) -> "httpx.AsyncClient":
        if self._closed:
            raise HubAway("This hub is not used any more.", "Open the room again.")
        if self._client is None:
            self._client = new_client(self._url)
        return self._client


def new_client(url: str) -> "httpx.AsyncClient":
    """For the hub at `url`, as hub_url returned it; to be closed."""
    import httpx

    # The system's certificates, not those that httpx brings; without TLS none are loaded.
    verify = ssl.create_default_context() if url.startswith("https:") else False
    return httpx.AsyncClient(
        verify=verify,
        trust_env=False,
        follow_redirects=False,
        headers=_HEADERS,
        timeout=httpx.Timeout(SILENCE, connect=_CONNECT, pool=_POST),
        limits=httpx.Limits(max_connections=4, max_keepalive_connections=2),
    )


def whole(body: bytes) -> "httpx.AsyncByteStream":
    """A request's body in one piece. That of httpx is a generator, left half-way when a connection breaks."""
    import httpx

    class Whole(httpx.AsyncByteStream):
        def __init__(self) -> None:
            self._pieces = iter([body])

        def __aiter__(self) -> AsyncIterator[bytes]:
            return self

        async def __anext__(self) -> bytes:
            try:
                return next(self._pieces)
            except StopIteration:
                raise StopAsyncIteration from None

    return Whole()


@asynccontextmanager
async def chunks_of(response: "httpx.Response") -> AsyncIterator[AsyncIterator[bytes]]:
    """Its body as it comes; closed at the end, whatever of it was read."""
    import httpx

    chunks = response.aiter_raw()
    try:
        yield chunks
    finally:
        with trio.CancelScope(shield=True):
            await response.aclose()
            with suppress(httpx.HTTPError, httpx.StreamError):
                async for _ in chunks:
                    pass  # what was here already: no generator may be left half-way


def _check_status(response: "httpx.Response") -> None:
    """HubAway unless it says that all is well."""
    status = response.status_code
    if 200 <= status < 300:
        return
    if status in (429, 503):
        busy = HubAway(f"The hub is busy (it answers {status}).", "It is tried again by itself.")
        wait = response.headers.get("retry-after", "")
        busy.wait = min(float(wait), _MAX_WAIT) if re.fullmatch(r"[0-9]{1,4}", wait) else _BUSY
        raise busy
    if 300 <= status < 400:
        raise HubAway(
            f"This address leads elsewhere (it answers {status}), and that is not followed.",
            "Give the hub's own address.",
        )
    if status == 413:
        raise HubAway("The hub takes no messages of this size.", "Use another hub.")
    raise _no_hub(f" (it answers {status})")


def _no_hub(more: str = "") -> HubAway:
    return HubAway(f"There is no hub at this address{more}.", "Check the address, and the path in it.")


@contextmanager
def in_words() -> Iterator[None]:
    """Whatever goes wrong with a connection becomes HubAway."""
    import httpx

    try:
        yield
    except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, ssl.SSLError, OSError) as error:
        raise HubAway(_sentence(error)) from error


def _sentence(error: BaseException) -> str:
    """What happened, by the cause that lies deepest among those that we know."""
    import httpx

    if isinstance(error, httpx.TimeoutException):
        return "The hub does not answer."
    if isinstance(error, httpx.RemoteProtocolError):
        return "The hub broke off, or what answers there is none."
    match _deepest(error):
        case ssl.SSLCertVerificationError(verify_message=why):
            return f"The hub's certificate cannot be trusted: {why}."
        case ssl.SSLError():
            return "The hub does not speak TLS as it should."
        case socket.gaierror():
            return "The hub's name is not known."
        case OSError(errno=int(number)):
            return f"The hub cannot be reached: {os.strerror(number)}."
        case _:
            return HubAway.message


def _deepest(error: BaseException | None) -> OSError | None:
    """What the operating system or TLS said, below all that was made of it."""
    found = None
    for _ in range(32):
        if isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        elif error is None:
            break
        if isinstance(error, OSError) and (error.errno or found is None):
            found = error
        error = error.__cause__ or error.__context__
    return found
