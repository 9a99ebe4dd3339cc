"""What the files of a `log:` folder are called: `<writer>.<segment>.log`, and what sync tools make of it."""

import re
from typing import Final

from signaling.log_entry import Segment

MAX_SEGMENT: Final = 1024 * 1024  # bytes; a file that is larger is nobody's segment

# "...sync-conflict-20261120-103000-ABCDEFG.log" (Syncthing), "... (conflicted copy 2026-11-20).log" (Dropbox,
# Nextcloud): what is in a copy proves itself, so it is read like any other.
_NAME: Final = re.compile(r"([0-9a-f]{64})\.([0-9a-f]{16})(?:[ ._(~-][^/\n]{0,100})?\.log")


def segment_of(name: str) -> Segment | None:
    """The segment that a file of this name would hold, or None when it is none of ours."""
    shape = _NAME.fullmatch(name)
    return None if shape is None else Segment(bytes.fromhex(shape[1]), bytes.fromhex(shape[2]))
