"""The rules of meeting: who waits in one namespace, who is handed whose offer, and what becomes of answers.

Pure: a queue and one thing that happens go in, the next queue and the replies to be given come out. Who waits
has an offer to be handed to others, or none any more, and can only answer. The one who waits longest is the
offerer; the other one is demoted. An offerer that was handed to somebody stays in the queue, promised under a
nonce, until its answer comes, it is put back, it leaves, or the other took too long.
"""

import hashlib
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, combinations, islice
from typing import Final

import msgspec

from signaling.hub.meet_store import Holder

MAX_ASKED: Final = 512
"""Pairs that are looked at, and looked up in the memory of pairs, when somebody comes."""

Pair = tuple[str, str]
"""Two clients, in order."""


class Signal(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What one party says to the other, opaque. `key`: whose it is in the signed form; else ""."""

    text: str
    key: str = ""


class Waiting(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A held request. `until`: when it is over, by the store's clock."""

    holder: Holder
    client: str
    signal: Signal | None
    """Its offer; None: it can only answer."""
    until: float
    nonce: str = ""
    """Names this request to whom its offer was handed, once."""
    promised_to: str = ""
    """The client that has the nonce."""
    promise_ends: float = 0.0


class Demote(msgspec.Struct, frozen=True, array_like=True, tag="demote"):
    """Answer this offer instead of offering."""

    nonce: str
    signal: Signal


class Answered(msgspec.Struct, frozen=True, array_like=True, tag="answer"):
    """What the other one answered."""

    signal: Signal


Reply = Demote | Answered

Queue = tuple[Waiting, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """The next queue, and who of it is demoted (and in it no more); the newcomer may be among them."""

    queue: Queue
    demoted: tuple[tuple[Holder, Demote], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """Somebody asks. `nonce`: it was handed that offer and does not want it, which is put back."""

    who: Waiting
    now: float
    answer_within: float
    refuses: str = ""


def encode_queue(queue: Queue) -> bytes:
    """b"" for an empty one."""
    return msgspec.msgpack.encode(queue) if queue else b""


def decode_queue(data: bytes) -> Queue:
    """ValueError for what no hub wrote."""
    return msgspec.msgpack.decode(data, type=Queue) if data else ()


def until_of(queue: Queue) -> float:
    """When nobody of it waits any more."""
    return max((each.until for each in queue), default=0.0)


def pair_name(pair: Pair) -> str:
    """What a store calls the memory of these two."""
    both = "\0".join(sorted(pair)).encode()
    return hashlib.sha256(b"pigeon/meet-pair/v1\0" + both).hexdigest()


def pairs_to_ask(queue: Queue, arrival: Arrival) -> list[Pair]:
    """Which pairs the memory has to be asked about before this arrival; the newcomer's come first."""
    free = [each for each in _begin(queue, arrival) if _is_free(each, arrival.now)]
    return list({_pair(one, other): None for one, other in _in_turn(free) if one.client != other.client})


def arrive(queue: Queue, arrival: Arrival, *, met: Collection[Pair], new_nonce: Callable[[], str]) -> Step:
    """Somebody comes: everybody who waits is looked at again. `met`: those who are not to meet (again)."""
    now = arrival.now
    waiting = list(_begin(queue, arrival))
    refused = [each.holder for each in queue if arrival.refuses and each.nonce == arrival.refuses]
    apart = {(holder, arrival.who.holder) for holder in refused}
    demoted: list[tuple[Holder, Demote]] = []
    gone: set[Holder] = set()  # demoted, or promised to somebody by now
    free = [each for each in waiting if _is_free(each, now)]
    for one, other in _in_turn(free):
        if one.holder in gone or other.holder in gone or (one.holder, other.holder) in apart:
            continue
        if one.client == other.client:
            if _is_key(one.client):
                continue  # the same one twice; without a key they may be two behind one address
        elif _pair(one, other) in met:
            continue
        offerer, answerer = (one, other) if one.signal is not None else (other, one)
        if offerer.signal is None:
            continue
        nonce = new_nonce()
        promised = msgspec.structs.replace(
            offerer, nonce=nonce, promised_to=answerer.client, promise_ends=now + arrival.answer_within
        )
        waiting[waiting.index(offerer)] = promised
        waiting.remove(answerer)
        gone |= {offerer.holder, answerer.holder}
        demoted.append((answerer.holder, Demote(nonce, offerer.signal)))
    return Step(queue=tuple(waiting), demoted=tuple(demoted))


def take(queue: Queue, *, nonce: str, client: str, now: float) -> tuple[Queue, Waiting] | None:
    """An answer to the offer that this nonce names: who waits on, and whose it is; None: nobody's."""
    for each in queue:
        if nonce and each.nonce == nonce and each.promised_to == client and each.until > now:
            return tuple(other for other in queue if other is not each), each
    return None


def leave(queue: Queue, holder: Holder, *, now: float) -> Queue:
    """This request is over, and so may others be."""
    return tuple(each for each in queue if each.holder != holder and each.until > now)


def free_again(queue: Queue, nonce: str) -> Queue:
    """Whoever was to answer this offer never heard of it."""
    return tuple(_freed(each) if each.nonce == nonce else each for each in queue)


def _begin(queue: Queue, arrival: Arrival) -> Iterator[Waiting]:
    """Who waits, the longest first: the newcomer is in it, the refused one put back, who is over is not."""
    for each in queue:
        if each.until > arrival.now:
            refused = arrival.refuses and each.nonce == arrival.refuses
            yield _freed(each) if refused and each.promised_to == arrival.who.client else each
    yield arrival.who


def _in_turn(free: Sequence[Waiting]) -> Iterator[tuple[Waiting, Waiting]]:
    """So many pairs, the elder first in each: those of the newcomer, then the others."""
    *others, newcomer = free
    with_newcomer = ((each, newcomer) for each in others)
    return islice(chain(with_newcomer, combinations(others, 2)), MAX_ASKED)


def _is_free(each: Waiting, now: float) -> bool:
    return not each.nonce or each.promise_ends <= now


def _freed(each: Waiting) -> Waiting:
    return msgspec.structs.replace(each, nonce="", promised_to="", promise_ends=0.0)


def _is_key(client: str) -> bool:
    return client.startswith("key:")


def _pair(one: Waiting, other: Waiting) -> Pair:
    return (one.client, other.client) if one.client <= other.client else (other.client, one.client)
