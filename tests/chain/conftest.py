"""What all tests of the chain share: no deadlines on a busy machine, and databases that are closed."""

import sqlite3
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings

settings.register_profile("patient", deadline=None, max_examples=60)
settings.load_profile("patient")


@pytest.fixture(autouse=True)
def _close_what_the_test_left_open(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Newer Pythons warn of a connection that is only garbage collected."""
    opened: list[sqlite3.Connection] = []
    connect = sqlite3.connect

    def noted(*arguments: Any, **options: Any) -> sqlite3.Connection:
        opened.append(connect(*arguments, **options))
        return opened[-1]

    monkeypatch.setattr(sqlite3, "connect", noted)
    yield
    for connection in opened:
        connection.close()
