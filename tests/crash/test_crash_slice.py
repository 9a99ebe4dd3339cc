"""A slice of `make crash`: some seconds of killing, in a process of its own, for it forks."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_nodes_killed_at_their_writes_keep_what_they_showed() -> None:
    command = [sys.executable, "-m", "tests.crash.run", "--seconds", "15", "--at-least", "20"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert done.stdout.splitlines()[-1].startswith("crash kills=")
