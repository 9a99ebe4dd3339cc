"""A member's replica in a living room: mangled envelopes of real traffic, most of them signed anew by a liar.

`tests/simulation/fuzz.py` changes messages field by field; here their bytes are changed, and whatever still
decodes is signed by a member and handed to the others. The world checks every safety property meanwhile.
"""

import binascii
from functools import cache
from typing import cast

from msgspec.structs import replace

from chain.codec import encode
from chain.effects import Arrived
from chain.errors import MalformedError
from chain.message import WIRE_VERSION, Envelope, Message, SlotMessage, unpack
from chain.replica import Replica
from tests.fuzz.decoder import Decoder, Feed, Refused
from tests.fuzz.forms import MESSAGEPACK
from tests.simulation.fuzz import signed_again
from tests.simulation.network import fixed
from tests.simulation.test_exact import DELAY
from tests.simulation.test_fuzz_replica import Fuzzed
from tests.simulation.world import World

_LIFE = 250
_MEMBERS = 4
_SAMPLES = 400


@cache
def _overheard() -> tuple[bytes, ...]:
    """What the members of such a room say to one another while people talk."""
    world = World(_MEMBERS, seed=7, latency=fixed(DELAY))
    said: dict[bytes, None] = {}
    world.populate()

    def overhear(data: bytes) -> bytes:
        said[data] = None
        return data

    for node in world.nodes:
        node.filter = overhear
    for number in range(24):
        world.say(world.nodes[number % _MEMBERS], (1, 100, 3000)[number % 3])
        world.run(until=world.calendar.now + DELAY)
        if number == 12:  # greetings, and rounds without a leader
            world.cut(world.nodes[0], world.nodes[1])
            world.relink()
    world.run()
    found = list(said)
    return tuple(found[:: len(found) // _SAMPLES + 1])


def _replica_feed() -> Feed:
    fuzzed = Fuzzed(_MEMBERS, seed=1)
    world = fuzzed.world

    def feed(data: bytes) -> object:
        choice = binascii.crc32(data)
        target = fuzzed.honest[choice % len(fuzzed.honest)]
        source = fuzzed.stranger if choice % 7 == 0 else fuzzed.liar
        try:
            messages = unpack(data)
        except MalformedError:
            messages = ()
        if messages and choice % 5:
            data = encode(Envelope(WIRE_VERSION, tuple(_as_the_liar(fuzzed, each) for each in messages)))
        if choice % 40 == 0:
            world.say(fuzzed.honest[choice % 3], 10)
        faults = len(target.faults)
        world.give(target, Arrived(source.id, data))
        world.run(until=world.calendar.now + (DELAY if choice % 3 else 0))
        if len(target.faults) > faults:
            raise Refused
        return messages

    return feed


def _as_the_liar(fuzzed: Fuzzed, message: Message) -> Message:
    tip = cast(Replica, fuzzed.honest[0].replica).tip
    if isinstance(message, SlotMessage):
        for body in message.bodies:
            fuzzed._may_be_ordered(body)
    if hasattr(message, "epoch") and not isinstance(message, SlotMessage):
        message = replace(message, epoch=tip.epoch)
    return signed_again(message, fuzzed.liar.seat, room=tip.room, epoch=tip.epoch, committee=tip.committee)


DECODERS = [
    Decoder(
        name="replica",
        form=MESSAGEPACK,
        samples=_overheard,
        make=_replica_feed,
        refuses=(),
        life=_LIFE,
        sound=False,
    )
]
