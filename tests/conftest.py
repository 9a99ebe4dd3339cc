"""A skip is a failure where everything a test can need is promised: PIGEON_REQUIRE_ALL=1."""

import os
from collections.abc import Generator

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
