"""What reading a picture costs, measured from outside: python -m tests.pictures.cost FILE."""

import json
import resource
import sys
import time
from pathlib import Path

from signaling.errors import BadPicture
from signaling.pictures import read_codes


def main() -> None:
    """Prints what became of it, and what the process that read it took."""
    data = Path(sys.argv[1]).read_bytes()
    began = time.perf_counter(), time.process_time()
    try:
        outcome = f"{len(read_codes(data))} tokens"
    except BadPicture as error:
        outcome = error.message
    child = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(
        json.dumps(
            {
                "outcome": outcome,
                "wall": time.perf_counter() - began[0],
                "cpu": time.process_time() - began[1] + child.ru_utime + child.ru_stime,
                "child_mb": child.ru_maxrss / 1024,
                "own_mb": _own_peak() / 1024,
            }
        )
    )


def _own_peak() -> int:
    """In kB; what getrusage says of ourselves began before we were exec'ed."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


if __name__ == "__main__":
    main()
