"""One party's side of a meeting, without I/O: what to post next, and what the hub's answer means.

    offer ──► held ──► Answered
                 ├───► Offered ──► answer ──► Delivered
                 │        │           ├─────► Offered     (the other one was gone: somebody else)
                 │        │           └─────► Nobody
                 │        └──────► bounce ──► as after offer
                 └───► Nobody ───► offer

Nothing that the hub says is believed: a signal has to open under the namespace's key, in its role, to our own
offer, and in the signed form to be signed by a key that we trust.
"""

import re
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

import msgspec
from nacl.signing import SigningKey

from signaling.errors import NotForUs, SignalError
from signaling.meet_keys import (
    AnswerTo,
    OfferTo,
    Role,
    from_text,
    open_signal,
    public_key,
    sign_namespace,
    sign_signal,
    to_text,
)
from signaling.meet_signals import Namespace

_MAX_WAIT: Final = 30.0  # seconds a hub may ask us to wait
_USUAL_WAIT: Final = 1.0
_MAX_SENTENCE: Final = 200


class HubRefused(SignalError):
    """The hub does not take what we say, and will not the next time."""

    message = "The hub does not take this."
    hint = "Check its address, and update pigeon there and here."


class Untrusted(SignalError):
    """Signed by a key that is not among those that we trust."""

    message = "Somebody came whose key is not trusted."
    hint = "Add the file with their public key: --trust FILE."


@dataclass(frozen=True)
class Offered:
    """We are demoted: answer this, or bounce it."""

    payload: bytes


@dataclass(frozen=True)
class Answered:
    """Our offer was answered by this."""

    payload: bytes


@dataclass(frozen=True)
class Delivered:
    """Our answer is there."""


@dataclass(frozen=True)
class Nobody:
    """Nobody came while we were held. `elsewhere`: somebody waits in another namespace."""

    elsewhere: bool


@dataclass(frozen=True)
class Unfit:
    """What the other one says is of no use: bounce it if it was an offer, else offer anew."""

    error: SignalError
    offered: bool


@dataclass(frozen=True)
class Later:
    """Post the same again after so many seconds."""

    seconds: float


Outcome = Offered | Answered | Delivered | Nobody | Unfit | Later


class _State(Enum):
    IDLE = "idle"
    OFFERING = "offering"
    DEMOTED = "demoted"
    ANSWERING = "answering"


class _Reply(msgspec.Struct, frozen=True):
    TYPE: str
    NONCE: str = ""
    SIGNAL: str = ""
    SIGNED_SIGNAL: str = ""
    PUBLIC_KEY: str = ""


@dataclass(frozen=True, kw_only=True)
class Party:
    """Who asks where; with `key` in the signed form. `trusted`: whose signals are taken, if not all."""

    namespace: Namespace
    key: SigningKey | None = None
    trusted: frozenset[bytes] = frozenset()


class Exchange:
    """Bodies to post come out, statuses and bodies that came back go in. One request at a time."""

    def __init__(self, party: Party) -> None:
        self._party = party
        self._place = party.namespace.place.encode()
        self._state = _State.IDLE
        self._mine = b""  # the signal with our offer
        self._nonce = ""
        self._theirs = AnswerTo(b"")

    def offer(self, payload: bytes, *, now: int) -> bytes:
        """The body of a new CONNECT."""
        self._state, self._nonce = _State.OFFERING, ""
        return self._body("CONNECT", self._show(payload), OfferTo(), now=now)

    def bounce(self, payload: bytes, *, now: int) -> bytes:
        """The body that gives an offer back, and shows ours instead."""
        assert self._state is _State.DEMOTED, "there is nothing to give back"
        self._state = _State.OFFERING
        return self._body("BOUNCE", self._show(payload), OfferTo(), now=now)

    def answer(self, payload: bytes, *, now: int) -> bytes:
        """The body that answers the last offer. Ours is dropped by that."""
        assert self._state is _State.DEMOTED, "there is nothing to answer"
        self._state, self._mine = _State.ANSWERING, b""
        signal = self._party.namespace.seal(payload, self._theirs)
        return self._body("CONNECT", signal, self._theirs, now=now)

    def receive(self, status: int, body: bytes, *, retry_after: str = "") -> Outcome:
        """What the hub's answer means; HubRefused."""
        match status:
            case 200:
                return self._receive(body)
            case 297 | 429 | 503:
                wait = float(retry_after) if re.fullmatch(r"[0-9]{1,4}", retry_after) else _USUAL_WAIT
                return Later(min(max(wait, _USUAL_WAIT), _MAX_WAIT))
            case 298 | 299:
                self._state = _State.IDLE
                return Nobody(elsewhere=status == 298)
            case 404 | 405:
                raise HubRefused("There is no meeting point at this address.", "Check the hub's address.")
            case _:
                raise HubRefused(f"The hub does not take this (it answers {status}{_sentence(body)}).")

    def _receive(self, body: bytes) -> Outcome:
        try:
            reply = msgspec.json.decode(body, type=_Reply)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            raise _odd() from None
        match reply.TYPE, self._state:
            case "DEMOTE", _State.OFFERING | _State.ANSWERING if reply.NONCE:
                self._state, self._nonce = _State.DEMOTED, reply.NONCE
                return self._open(reply, OfferTo())
            case "ANSWER", _State.OFFERING:
                self._state = _State.IDLE
                key = self._party.key
                ours = b"" if key is None else bytes(key.verify_key)
                return self._open(reply, AnswerTo(self._mine, ours))
            case "DELIVERED", _State.ANSWERING:
                self._state = _State.IDLE
                return Delivered()
            case _:
                raise _odd()

    def _open(self, reply: _Reply, role: Role) -> Outcome:
        """Size, then signature, then seal."""
        offered = isinstance(role, OfferTo)
        party = self._party
        try:
            key = b""
            if party.key is None:
                signal = from_text(reply.SIGNAL)
            else:
                key = public_key(reply.PUBLIC_KEY)
                if key == bytes(party.key.verify_key):
                    raise NotForUs("This is our own.", "Ask again.")
                if party.trusted and key not in party.trusted:
                    raise Untrusted
                signal = open_signal(reply.SIGNED_SIGNAL, role, namespace=self._place, public=key)
            if offered and signal == self._mine:
                raise NotForUs("This is our own.", "Ask again.")
            payload = party.namespace.open(signal, role)
        except SignalError as error:
            return Unfit(error, offered)
        if offered:
            self._theirs = AnswerTo(signal, key)
            return Offered(payload)
        return Answered(payload)

    def _show(self, payload: bytes) -> bytes:
        self._mine = self._party.namespace.seal(payload, OfferTo())
        return self._mine

    def _body(self, kind: str, signal: bytes, role: Role, *, now: int) -> bytes:
        key = self._party.key
        fields: dict[str, Any] = {"TYPE": kind}
        if key is None:
            fields |= {"NAMESPACE": self._party.namespace.place, "SIGNAL": to_text(signal)}
        else:
            fields |= {
                "SIGNED_NAMESPACE": sign_namespace(self._place, key=key, now=now),
                "SIGNED_SIGNAL": sign_signal(signal, role, namespace=self._place, key=key),
                "PUBLIC_KEY": bytes(key.verify_key).hex(),
            }
        if self._nonce:
            fields["NONCE"] = self._nonce
        return msgspec.json.encode(fields)


def _odd() -> HubRefused:
    return HubRefused("What this hub answers makes no sense.", "Use another hub, or update pigeon.")


def _sentence(body: bytes) -> str:
    """What the hub says is wrong, in its words."""
    try:
        said = msgspec.json.decode(body, type=dict[str, Any]).get("MESSAGE")
    except (msgspec.MsgspecError, ValueError, RecursionError):
        said = None
    return f": {said[:_MAX_SENTENCE]!r}" if isinstance(said, str) else ""
