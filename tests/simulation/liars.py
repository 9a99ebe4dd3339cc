"""What one liar can do by hand: say what no honest code says, show it to whom it likes, lose what it likes.

The liar's own replica is honest code beside it, and knows nothing of what a test says in its name.
"""

from collections.abc import Callable, Iterable, Sequence

from chain.block import Body, Dep, Slot
from chain.control import Control
from chain.effects import Arrived, Effect, Input
from chain.ids import BlockId, SlotId
from chain.message import UNSIGNED, Hello, Message, SlotMessage, pack, signed, unpack
from tests.simulation.keys import HASHED
from tests.simulation.machine import Filter, Node
from tests.simulation.room import make_seat
from tests.simulation.test_exact import follower_of, leader_of, quiet_room
from tests.simulation.world import World


def room_with_liar(*, leads: bool) -> tuple[World, Node, list[Node]]:
    """Four members, greetings over: the world, the liar, and the three honest ones."""
    world = quiet_room(4)
    liar = leader_of(world) if leads else follower_of(world)
    liar.honest = False
    return world, liar, [node for node in world.nodes if node is not liar]


def tell(world: World, target: Node, source: Node, *messages: Message) -> None:
    """These messages reach `target` over its link from `source`, at this very instant."""
    world.give(target, *(Arrived(source.id, data) for data in pack(list(messages))))
    at_once(world)


def at_once(world: World) -> None:
    """Let happen what happens now; no time passes."""
    world.run(until=world.calendar.now)


def wait(world: World, seconds: float) -> None:
    world.run(until=world.calendar.now + seconds)


def silent(target: Node, data: bytes) -> bool:
    """For `withhold`: linked to everybody, and nothing that its replica says gets out."""
    del target, data
    return True


def silent_to(victim: Node) -> Callable[[Node, bytes], bool]:
    """For `withhold`: everybody but `victim` hears everything."""
    return lambda target, data: target is victim


def losing(lost: Callable[[Message], bool]) -> Filter:
    """For `filter`: these messages are under way for ever, all others arrive."""

    def filtered(data: bytes) -> bytes | None:
        kept = [message for message in unpack(data) if not lost(message)]
        return pack(kept)[0] if kept else None

    return filtered


def overhear(node: Node) -> list[Message]:
    """Everything that reaches `node` from now on, as it comes."""
    heard: list[Message] = []

    def listen(data: bytes) -> bytes:
        heard.extend(unpack(data))
        return data

    node.filter = listen
    return heard


def place_of(world: World, node: Node) -> int:
    place = world.room.tip.committee.place(node.id)
    assert place is not None
    return place


def member_at(world: World, place: int) -> Node:
    identity = world.room.tip.committee.members[place].identity
    return next(node for node in world.nodes if node.id == identity)


def heights_above(world: World, nodes: Iterable[Node]) -> list[int]:
    """How many blocks each of them has since the room was made."""
    return [node.running.tip.height - world.room.tip.height for node in nodes]


def blamed(nodes: Iterable[Node]) -> set[str]:
    """Whom these nodes blame for something, by what they say it is."""
    return {f"{node}: {fault.kind}, {fault.detail}" for node in nodes for fault in node.faults}


def body(world: World, author: Node, *, size: int = 20) -> Body:
    """Something to say, of `size` bytes after its uuid, that the properties know of."""
    made = Body(world.dice.randbytes(32), world.dice.randbytes(16 + size))
    world.properties.said(made, author=author.id, honest=author.honest)
    return made


def slot_of(
    world: World,
    author: Node,
    seq: int,
    *,
    prev: SlotId | None = None,
    size: int = 20,
    control: Sequence[Control] = (),
    deps: Sequence[Dep] = (),
) -> SlotMessage:
    """A signed slot of the epoch the room began with, never the same twice; no `prev`: the lane's first."""
    tip, place = world.room.tip, place_of(world, author)
    bodies = () if control else (body(world, author, size=size),)
    bare = Slot(
        epoch=tip.epoch,
        lane=place,
        seq=seq,
        prev=tip.cut[place].id if prev is None else prev,
        deps=tuple(deps),
        control=tuple(control),
        commitments=tuple(made.commitment(room=tip.room, author=author.id) for made in bodies),
        claimed_time=world.dice.randrange(2**40),
        signature=UNSIGNED,
    )
    return SlotMessage(signed(bare, room=tip.room, key=author.seat.vote), bodies)


def id_of(world: World, message: SlotMessage) -> SlotId:
    return message.slot.id(world.room.id)


def nowhere(world: World) -> SlotId:
    """The id of a slot that nobody ever made."""
    return SlotId(world.dice.randbytes(32))


def claim_of(world: World, height: int) -> Hello:
    """A HELLO that claims this height and can show nothing for it."""
    return Hello(
        epoch=world.room.tip.epoch,
        height=height,
        block=BlockId(bytes(32)),
        linked=(),
        mine=None,
        yours=None,
        reply=False,
    )


class Deaf:
    """What runs on a stranger's machine: takes everything, answers nothing."""

    def step(self, inputs: Sequence[Input], *, now: float, clock_ms: int) -> list[Effect]:
        del inputs, now, clock_ms
        return []


def stranger_at(world: World, sponsor: Node) -> Node:
    """Somebody who is no member, linked to one member as whoever asks to join is."""
    guest = world.add("stranger", make_seat(HASHED, "stranger"), honest=False)
    guest.replica = Deaf()
    world.may_link = lambda one, other: guest not in (one, other) or {one, other} == {guest, sponsor}
    world.relink()
    at_once(world)
    return guest
