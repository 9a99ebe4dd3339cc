"""The record as people see it: text messages in their final order, each one once, whoever reads them."""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from chain.ids import MemberId
from node.content import body_id, body_text
from node.events import FinalEvent

if TYPE_CHECKING:
    from chain.store import StoredItem


class View:
    """Turns stored items into events. Each index must be seen first in order, from 0; then at will."""

    def __init__(self, me: MemberId) -> None:
        self._me = me
        self._first: dict[int, int] = {}  # hash of (author, id) -> index that is shown

    def show(self, items: "Iterable[StoredItem]") -> Iterator[FinalEvent]:
        """The text messages among these items, without a repeated (author, id)."""
        for item in items:
            if item.data is None:
                continue
            name = hash((item.author, body_id(item.data)))
            if self._first.setdefault(name, item.index) != item.index:
                continue
            text = body_text(item.data)
            if text is not None:
                yield FinalEvent(
                    index=item.index,
                    height=item.height,
                    id=body_id(item.data).hex(),
                    member=item.author.hex(),
                    nick=item.nick,
                    text=text,
                    claimed_time=item.claimed_time,
                    mine=item.author == self._me,
                )
