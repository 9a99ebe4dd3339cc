"""What may be posted to /v1/meet, read strictly: every field by its name, its type and its length."""

import hashlib
import time
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from signaling.errors import SignalError
from signaling.hub.http import Request
from signaling.hub.meet_queue import Signal
from signaling.meet_keys import PUBLIC_KEY_DIGITS, open_namespace, public_key

CONNECT: Final = "CONNECT"
BOUNCE: Final = "BOUNCE"
MAX_NAMESPACE: Final = 512
MAX_NONCE: Final = 64

# What a program says of itself with every request. What proxies add changes from one request to the next.
_TRAITS: Final = (
    "user-agent", "accept", "accept-language", "accept-encoding", "origin", "dnt", "sec-ch-ua",
    "sec-ch-ua-platform", "sec-ch-ua-mobile", "pigeon-client",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request. `queue`: the namespace, as stores call it; signed and unsigned ones never meet."""

    kind: str
    queue: str
    nonce: str
    signal: Signal
    client: str


@dataclass(frozen=True, slots=True)
class Wrong:
    """Which parameter is missing, or is not what it has to be; "": the whole body."""

    parameter: str
    sentence: str


def read_ask(request: Request, *, max_signal: int) -> Ask | Wrong:
    """The first thing that is wrong is what is said."""
    try:
        fields = msgspec.json.decode(request.body, type=dict[str, Any])
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return Wrong("", "The body has to be one JSON object with TYPE, NAMESPACE and SIGNAL.")
    signed = any(fields.get(name) is not None for name in ("SIGNED_NAMESPACE", "SIGNED_SIGNAL", "PUBLIC_KEY"))
    said = "SIGNED_SIGNAL" if signed else "SIGNAL"
    place = "SIGNED_NAMESPACE" if signed else "NAMESPACE"
    needed = {"TYPE": 16, place: MAX_NAMESPACE, said: max_signal}
    if signed:
        needed["PUBLIC_KEY"] = PUBLIC_KEY_DIGITS
    if fields.get("TYPE") == BOUNCE or fields.get("NONCE") is not None:
        needed["NONCE"] = MAX_NONCE
    for name, limit in needed.items():
        if fields.get(name) is None:
            return Wrong(name, f"{name} is missing.")
        if not isinstance(fields[name], str) or not 0 < len(fields[name]) <= limit:
            return Wrong(name, f"{name} has to be a text of 1 to {limit} characters.")
    if fields["TYPE"] not in (CONNECT, BOUNCE):
        return Wrong("TYPE", f"TYPE has to be {CONNECT} or {BOUNCE}.")
    key, namespace = "", fields[place].encode("utf-8", "surrogatepass")
    if signed:
        key = fields["PUBLIC_KEY"]
        try:
            public = public_key(key)
        except SignalError:
            return Wrong("PUBLIC_KEY", "PUBLIC_KEY has to be 64 lower-case hex digits.")
        try:
            namespace = open_namespace(fields[place], public=public, now=int(time.time()))
        except SignalError as error:
            return Wrong(place, f"{place} does not hold: {error}")
    return Ask(
        kind=fields["TYPE"],
        queue=hashlib.sha256(b"pigeon/meet-queue/v1\0" + bytes((signed,)) + namespace).hexdigest(),
        nonce=fields.get("NONCE") or "",
        signal=Signal(fields[said], key),
        client=f"key:{key}" if signed else _look_of(request),
    )


def _look_of(request: Request) -> str:
    """A fingerprint of address and headers: who gives no key is told from others by these."""
    traits = "".join(f"{name}: {request.headers.get(name, '')}\n" for name in _TRAITS)
    return "look:" + hashlib.sha256(f"{request.client}\n{traits}".encode()).hexdigest()
