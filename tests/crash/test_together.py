"""A story that does not get on says of every process what it heard last and how it stands."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
STORY = """
import sys
from pathlib import Path
from tests.crash.hatch import CrashFailed, Hatch
from tests.crash.together import Room

hatch = Hatch(Path(sys.argv[1]))
room = Room(hatch, Path(sys.argv[1]), "stuck")
try:
    room.found()
    room.grow(2)
    room.end("bob")
    room.start("bob", "chat")
    room.patience = 2.0
    room.hears("ann", "never said")
except CrashFailed as error:
    print(error)
finally:
    hatch.stop()
"""


def test_a_story_that_hangs_tells_how_each_of_its_processes_stands(tmp_path: Path) -> None:
    command = [sys.executable, "-c", STORY, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    assert "not within 2 s: stuck-ann hears of never said" in done.stdout
    for name in ("stuck-ann", "stuck-bob"):
        assert f"\n{name}, up\n" in done.stdout
    assert done.stdout.count("  status: {") == 2
    assert done.stdout.count("  who: {") >= 2
    assert "'event': 'invite'" in done.stdout
