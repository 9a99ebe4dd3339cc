"""Which of our messages are not final yet, whatever comes first: their ids, or that they are final."""

from collections.abc import Iterator
from contextlib import contextmanager

import trio


class Settling:
    """Of one conversation."""

    def __init__(self) -> None:
        self._unsettled: set[str] = set()
        self._early: set[str] = set()  # final before `say` told us their ids
        self._saying = False
        self._changed = trio.Event()  # replaced each time something of ours becomes final

    def __bool__(self) -> bool:
        """Whether something is not final."""
        return bool(self._unsettled)

    @property
    def changed(self) -> trio.Event:
        """Set as soon as one more message of ours is final."""
        return self._changed

    @contextmanager
    def saying(self) -> Iterator[None]:
        """Around `say`: what becomes final in the meantime may be what it is about."""
        self._saying = True
        try:
            yield
        finally:
            self._saying = False

    def said(self, id: str) -> None:
        """This is the id of what was said last."""
        if id not in self._early:
            self._unsettled.add(id)
        self._early.clear()

    def on_pending(self, id: str) -> None:
        self._unsettled.add(id)

    def on_final(self, id: str) -> None:
        self._unsettled.discard(id)
        self._changed.set()
        self._changed = trio.Event()
        if self._saying:
            self._early.add(id)
