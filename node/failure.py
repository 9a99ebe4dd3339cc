"""Many tasks, one error: what ended a node comes out as itself and not as the group it was in."""

from collections.abc import Iterator
from contextlib import contextmanager

import trio

from node.errors import NodeError


@contextmanager
def one_error() -> Iterator[None]:
    """One error that ended a node comes out as itself and not as the group it was in."""
    try:
        yield
    except BaseExceptionGroup as group:
        ours = [error for error in _leaves(group) if not isinstance(error, trio.Cancelled)]
        known = [error for error in ours if isinstance(error, NodeError)]
        if known or len(ours) == 1:
            raise (known or ours)[0] from None
        raise


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    else:
        yield error
