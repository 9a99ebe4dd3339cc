"""What we said and is in no slot yet: kept before it is shown, put into slots in order, never twice."""

from collections.abc import Iterable

from chain.block import SLOT_BODIES, SLOT_BODY_BYTES, Body
from chain.effects import Pending
from chain.outbox import Outbox
from chain.records import Dequeue, Enqueue


class Backlog:
    """The queue in front of our lane, on disk as in memory."""

    def __init__(self, bodies: Iterable[Body], *, out: Outbox) -> None:
        self.bodies: list[Body] = list(bodies)
        self._out = out
        self._unsaved: set[bytes] = set()
        """Said in this tick: most go into a slot within it, and are kept with that."""

    def __bool__(self) -> bool:
        return bool(self.bodies)

    def say(self, body: Body) -> None:
        self.bodies.append(body)
        self._unsaved.add(body.uuid)
        self._out.tell(Pending(body.uuid))

    def take(self) -> tuple[Body, ...]:
        """What goes into the next slot, oldest first."""
        taken: list[Body] = []
        size = 0
        while self.bodies and len(taken) < SLOT_BODIES:
            size += len(self.bodies[0].data)
            if size > SLOT_BODY_BYTES:
                break
            taken.append(self.bodies.pop(0))
        for uuid in (body.uuid for body in taken):
            if uuid in self._unsaved:
                self._unsaved.discard(uuid)
            else:
                self._out.keep(Dequeue(uuid))
        return tuple(taken)

    def take_back(self, void: list[Body]) -> None:
        """The epoch ended before these slots were ordered: before everything said since, each once."""
        again = {body.uuid for body in void}
        self.bodies = [*void, *(body for body in self.bodies if body.uuid not in again)]
        for body in void:
            self._out.keep(Enqueue(body, front=True))

    def drop(self, ordered: set[bytes]) -> None:
        """A disk that went back in time may have us queue what we said long ago; it is not said twice."""
        for body in [body for body in self.bodies if body.uuid in ordered]:
            self.bodies.remove(body)
            self._out.keep(Dequeue(body.uuid))

    def save(self) -> None:
        """At the end of a tick: what is in no slot is kept by itself."""
        for body in self.bodies:
            if body.uuid in self._unsaved:
                self._out.keep(Enqueue(body))
        self._unsaved.clear()
