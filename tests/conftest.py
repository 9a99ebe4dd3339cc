"""For all tests: a skip fails where everything is promised, and databases are closed at the end of each."""

import os
import sqlite3
from collections.abc import Generator, Iterator
from typing import Any

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and os.environ.get("PIGEON_REQUIRE_ALL") == "1":
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid}: PIGEON_REQUIRE_ALL=1 forbids to skip: {report.longrepr}"
    return report


@pytest.fixture(autouse=True)
def _close_what_the_test_left_open(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Simulated homes die with their test; newer Pythons warn of a connection that is only collected."""
    opened: list[sqlite3.Connection] = []
    connect = sqlite3.connect

    def noted(*arguments: Any, **options: Any) -> sqlite3.Connection:
        opened.append(connect(*arguments, **options))
        return opened[-1]

    monkeypatch.setattr(sqlite3, "connect", noted)
    yield
    for connection in opened:
        connection.close()
