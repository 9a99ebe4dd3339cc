"""A hub: is it there, is it a hub, does what is said come through, and is its clock like ours."""

import secrets
import ssl
import time
from email.utils import parsedate_to_datetime
from typing import Final

import trio

from node.doctor.finding import Finding, fine, problem, warning
from node.doctor.machine import SET_CLOCK
from signaling.description import CLOCK_SKEW
from signaling.hub_client import HubAway, HubClient

_LISTENING_WITHIN: Final = 5.0
_ECHO_WITHIN: Final = 3.0
_SLOW: Final = 1.5
_CLOSE: Final = 1.0
_MAX_HELD: Final = 4096  # bytes of what others might say there


async def check_hub(spec: str) -> list[Finding]:
    """`hub:URL`: listen to a channel that nobody else knows, and say a word there."""
    client = HubClient(spec.partition(":")[2], channel=secrets.token_hex(16))
    try:
        return [await _tried(spec, client)]
    except HubAway as error:
        return [_failed(spec, error)]
    finally:
        with trio.move_on_after(_CLOSE, shield=True):
            await client.aclose()


async def _tried(spec: str, client: HubClient) -> Finding:
    word, heard, listening = secrets.token_hex(16).encode(), b"", False
    began = trio.current_time()
    with trio.CancelScope(deadline=began + _LISTENING_WITHIN) as patience:
        async with client.listen() as chunks:
            listening = True
            patience.deadline = trio.current_time() + _ECHO_WITHIN
            await client.post(b'"' + word + b'"')
            async for chunk in chunks:
                heard = heard[-_MAX_HELD:] + chunk
                if word in heard:
                    break
    if not listening:
        raise HubAway("The hub does not answer.")
    if word not in heard:
        return problem(
            spec,
            "It takes what is said, and nobody hears it.",
            cause="What stands before the hub, a proxy most likely, holds events back.",
            cure="Whoever runs it has to turn that off (in nginx: proxy_buffering off).",
        )
    return _judged(spec, _clock_off(client.date), seconds=trio.current_time() - began)


def _judged(spec: str, off: float, *, seconds: float) -> Finding:
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
            f"It works, and took {seconds:.1f} s.",
            cause="The hub, or the way there, is slow.",
            cure="Nothing has to be done; another hub may be nearer.",
        )
    return fine(spec, f"What is said there was heard after {seconds * 1000:.0f} ms.")


def _failed(spec: str, error: HubAway) -> Finding:
    hint = error.hint if error.hint != HubAway.hint else "Check its address and your network."
    causes = _causes(error)
    if any(isinstance(each, ConnectionRefusedError) for each in causes):
        hint = "Nobody listens there: start it (pigeon hub), or check the address and the port."
    elif any(isinstance(each, ssl.SSLError) for each in causes):
        hint = "Check https: or http:, the name in the address, and this machine's clock."
    return problem(spec, "It cannot be used.", cause=error.message, cure=hint)


def _causes(error: BaseException | None) -> list[BaseException]:
    """It and what led to it; a happy-eyeballs dial fails with a group."""
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


def _clock_off(date: str) -> float:
    """Seconds that the hub's clock is ahead of ours; 0 where it does not say."""
    try:
        return parsedate_to_datetime(date).timestamp() - time.time()
    except (ValueError, TypeError, OverflowError):
        return 0.0
