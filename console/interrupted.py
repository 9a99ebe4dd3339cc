"""Who interrupts pigeon while it is being imported sees nothing of its insides: cli.py begins with this."""

import os
import signal
import sys
from typing import NoReturn


def end_at_once() -> None:
    """On SIGINT and SIGTERM, until console/shell.py listens to them."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _stop)


def _stop(number: int, _frame: object) -> NoReturn:
    os._exit(128 + number)


if sys.argv and sys.argv[0].endswith(("pigeon", "cli.py")):  # else somebody else's program imports cli.py
    end_at_once()
