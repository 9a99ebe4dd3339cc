"""A hub: is it there, is it a hub, does it answer soon enough, and is its clock like ours."""

import secrets
import ssl
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

import trio

from node.doctor.finding import Finding, fine, problem, warning
from node.doctor.machine import SET_CLOCK
from signaling.description import CLOCK_SKEW

if TYPE_CHECKING:
    import httpx

_WITHIN: Final = 6.0
_SLOW: Final = 2.0
_STREAM: Final = "text/event-stream"


async def check_hub(spec: str) -> list[Finding]:
    """`hub:URL`: listen for a moment to a channel that nobody else knows, as the carrier would; and go."""
    import httpx

    url = spec.partition(":")[2].rstrip("/")
    channel = f"{url}/v1/pigeon/doctor-{secrets.token_hex(8)}"
    began = trio.current_time()
    try:
        with trio.move_on_after(_WITHIN):
            async with (
                httpx.AsyncClient(trust_env=False, follow_redirects=False, timeout=None) as client,
                client.stream("GET", channel, headers={"Accept": _STREAM}) as response,
            ):
                return [_judged(spec, response, seconds=trio.current_time() - began)]
    except httpx.InvalidURL as error:
        return [_no_hub(spec, f"Its address cannot be used: {error}.")]
    except httpx.HTTPError as error:
        return [_failed(spec, error)]
    return [
        problem(
            spec,
            f"It does not answer within {_WITHIN:g} s.",
            cause="The hub is down or overloaded, or something on the way drops what is sent to it.",
            cure="Ask whoever runs it, or use another hub.",
        )
    ]


def _judged(spec: str, response: "httpx.Response", *, seconds: float) -> Finding:
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if response.status_code in (429, 503):
        return problem(
            spec,
            f"It turns us away (status {response.status_code}).",
            cause="It has too much to do, or we have asked too often.",
            cure="Wait a minute, or use another hub.",
        )
    if 300 <= response.status_code < 400:
        where = response.headers.get("location", "elsewhere")[:100]
        return _no_hub(spec, f"It sends us to {where}, where we do not go by ourselves.")
    if response.status_code != 200 or kind != _STREAM:
        return _no_hub(spec, f"Something answers (status {response.status_code}) that is no hub.")
    off = _clock_off(response.headers.get("date", ""))
    if abs(off) > CLOCK_SKEW:
        return warning(
            spec,
            f"Its clock is {abs(off) / 60:,.0f} minutes {'ahead of' if off > 0 else 'behind'} ours.",
            cause="This machine's clock, or the hub's, is wrong; where clocks differ, offers are refused.",
            cure=SET_CLOCK,
        )
    if seconds > _SLOW:
        return warning(
            spec,
            f"It works, and took {seconds:.1f} s to answer.",
            cause="The hub or the way there is slow.",
            cure="Nobody has to do anything; another hub may be nearer.",
        )
    return fine(spec, f"It answers in {seconds * 1000:.0f} ms.")


def _failed(spec: str, error: "httpx.HTTPError") -> Finding:
    causes = _causes(error)
    if any(isinstance(each, ssl.SSLError) for each in causes):
        return problem(
            spec,
            "No secure connection to it could be made.",
            cause=f"Its certificate is not valid here, or it speaks no TLS: {error}",
            cure="Check https: or http:, the name in the address, and this machine's clock.",
        )
    if any(isinstance(each, ConnectionRefusedError) for each in causes):
        return problem(
            spec,
            "Nobody listens there.",
            cause="The hub is not running, or it has another port.",
            cure="Start it (pigeon hub), or check the address.",
        )
    if any(isinstance(each, OSError) and "name" in str(each).lower() for each in causes):
        return problem(
            spec,
            "Its name leads to no address.",
            cause="The name is mistyped, or no name server answers here.",
            cure="Check the address.",
        )
    return problem(
        spec,
        "It cannot be reached.",
        cause=f"{type(error).__name__}: {error}" if str(error) else type(error).__name__,
        cure="Check the address and the network, or use another hub.",
    )


def _causes(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    waiting = [error]
    while waiting and len(found) < 32:
        each = waiting.pop()
        if each is None or each in found:
            continue
        found.append(each)
        waiting += [each.__cause__, each.__context__]
        if isinstance(each, BaseExceptionGroup):
            waiting += each.exceptions
    return found


def _no_hub(spec: str, found: str) -> Finding:
    return problem(
        spec,
        found,
        cause="The address is that of something else, or its path is wrong.",
        cure="Check the address: hub:https://HOST or hub:http://HOST:PORT, and the path if there is one.",
    )


def _clock_off(date: str) -> float:
    """Seconds that a server's clock is ahead of ours; 0 where it does not say."""
    try:
        return parsedate_to_datetime(date).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return 0.0
