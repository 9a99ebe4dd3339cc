"""Fuzz every decoder that a peer, a file or a disk can reach.

Each input is made from the decoder's name, a seed and a number, so that any of them can be made again:

    python -m tests.fuzz.run --decoder token --seed 0 --index 1234

prints it in hex and runs it. NIGHTLY=1 gives every decoder a million inputs instead of twenty thousand.
Pictures get a tenth of that. A decoder is added by a line in one of the `*_borders.py` files.
"""

import argparse
import gc
import logging
import math
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path

from tests.fuzz import (
    chain_borders,
    console_borders,
    disk_borders,
    door_borders,
    evidence_borders,
    hub_borders,
    hub_carrier_borders,
    ice_borders,
    inband_borders,
    introduce_borders,
    lobby_borders,
    log_borders,
    meet_borders,
    node_borders,
    picture_borders,
    replica_borders,
    rtc_borders,
    sctp_borders,
    sdp_borders,
    signal_borders,
)
from tests.fuzz.decoder import MINIMUM, Decoder
from tests.fuzz.engine import Tally, bound_address_space, make_input, replay, run_range

REPLAY = "replay: python -m tests.fuzz.run"
NIGHTLY = 1_000_000
IN_ALL = 1_000_000
"""Inputs that a full run has at least."""
MAX_RESIDENT_MB = 700
_CHUNK = 5000  # a multiple of every decoder's life

DECODERS: dict[str, Decoder] = {
    decoder.name: decoder
    for borders in (
        picture_borders,
        replica_borders,  # the slowest first, so that the last process to finish is not alone for long
        disk_borders,
        rtc_borders,
        ice_borders,
        sctp_borders,
        inband_borders,
        node_borders,
        introduce_borders,
        door_borders,
        lobby_borders,
        log_borders,
        hub_carrier_borders,
        sdp_borders,
        signal_borders,
        evidence_borders,
        hub_borders,
        meet_borders,
        console_borders,
        chain_borders,
    )
    for decoder in borders.DECODERS
}


def prepare() -> None:
    """In a process that does nothing but fuzz."""
    logging.disable(logging.CRITICAL)
    gc.freeze()  # what was imported is no garbage, and need not be looked at again and again
    bound_address_space()


def run_part(name: str, seed: int, start: int, stop: int, seconds: float) -> Tally:
    """One range of one decoder's inputs, in a process of its own kind."""
    return run_range(DECODERS[name], seed=seed, start=start, stop=stop, seconds=seconds)


@contextmanager
def scratch_space() -> Iterator[None]:
    """Where the processes write: in memory if the system has such a place, and gone afterwards."""
    former, memory = os.environ.get("TMPDIR"), Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="pigeon-fuzz-", dir=memory if memory.is_dir() else None) as place:
        os.environ["TMPDIR"] = place
        try:
            yield
        finally:
            if former is None:
                del os.environ["TMPDIR"]
            else:
                os.environ["TMPDIR"] = former


def fuzz(
    names: Sequence[str], *, seed: int, inputs: int, jobs: int = 2, seconds: float = float("inf")
) -> dict[str, Tally]:
    """Each decoder's inputs from 0 to `inputs`, or what fits into `seconds` a decoder; prints as it goes."""
    tallies = {name: Tally(name) for name in names}
    waiting = dict.fromkeys(names, 0)
    with (
        scratch_space(),
        ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), initializer=prepare) as pool,
    ):
        parts = []
        for name in names:
            wanted = math.ceil(inputs * DECODERS[name].share)
            for start in range(0, wanted, _CHUNK):
                stop = min(start + _CHUNK, wanted)
                parts.append(pool.submit(run_part, name, seed, start, stop, seconds))
                waiting[name] += 1
        for part in as_completed(parts):
            tally = part.result()
            tallies[tally.decoder].add(tally)
            waiting[tally.decoder] -= 1
            for index, problem in tally.failures:
                where = f"--decoder {tally.decoder} --seed {seed} --index {index}"
                print(f"{tally.decoder} {index} FAILED: {problem}\n    {REPLAY} {where}", flush=True)
            if not waiting[tally.decoder]:
                print(line_of(tallies[tally.decoder]), flush=True)
    return tallies


def line_of(tally: Tally) -> str:
    return (
        f"{tally.decoder:24} inputs={tally.count} accepted={tally.accepted} refused={tally.refused} "
        f"slowest_ms={tally.slowest * 1000:.1f} memory_kb={tally.memory >> 10} largest={tally.largest} "
        f"us_each={1e6 * tally.seconds / max(1, tally.count):.0f}"
    )


def shortcomings(tallies: dict[str, Tally], *, least: int) -> Iterator[str]:
    """Why this run shows less than it should."""
    for name, tally in tallies.items():
        if tally.failures:
            yield f"{name}: {len(tally.failures)} inputs failed"
        share = DECODERS[name].share if name in DECODERS else 1.0
        if tally.count < math.ceil(least * share):
            yield f"{name}: {tally.count} inputs, not {math.ceil(least * share)}"
        for what in ("accepted", "refused"):
            if not getattr(tally, what):
                yield f"{name}: none {what}, so nothing was tried"
    peak = max(tally.peak_kb for tally in tallies.values()) >> 10
    if peak > MAX_RESIDENT_MB:
        yield f"{peak} MB resident, more than {MAX_RESIDENT_MB}"


def again(name: str, *, seed: int, index: int) -> int:
    """One input once more, in hex, and what became of it."""
    prepare()
    with scratch_space():
        data, _ = make_input(DECODERS[name], seed=seed, index=index)
        print(data.hex())
        tally = replay(DECODERS[name], seed=seed, index=index)
    print(f"{line_of(tally)} bytes={len(data)}")
    for failed, problem in tally.failures:
        print(f"{failed} FAILED: {problem}")
    return 1 if tally.failures else 0


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    nightly = os.environ.get("NIGHTLY") == "1"
    parser.add_argument("--decoder", help="this one, or those whose names begin so; see --list")
    parser.add_argument("--seed", type=int, default=0, help="of all inputs (default 0)")
    parser.add_argument("--index", type=int, help="run this input of --decoder alone")
    parser.add_argument(
        "--inputs", type=int, default=NIGHTLY if nightly else MINIMUM, help="for each decoder"
    )
    parser.add_argument("--jobs", type=int, default=2, help="processes (default 2)")
    parser.add_argument("--list", action="store_true", help="name the decoders and end")
    given = parser.parse_args()
    if given.list:
        print("\n".join(DECODERS))
        return 0
    if given.index is not None:
        return again(given.decoder, seed=given.seed, index=given.index)
    names = [name for name in DECODERS if given.decoder is None or name.startswith(given.decoder)]
    began = time.monotonic()
    tallies = fuzz(names, seed=given.seed, inputs=given.inputs, jobs=given.jobs)
    in_all = sum(tally.count for tally in tallies.values())
    wrong = list(shortcomings(tallies, least=given.inputs))
    if given.decoder is None and given.inputs >= MINIMUM and in_all < IN_ALL:
        wrong.append(f"{in_all} inputs in all, not {IN_ALL}")
    for sentence in wrong:
        print(sentence)
    print(
        f"fuzz inputs={in_all} decoders={len(tallies)} smallest={min(t.count for t in tallies.values())} "
        f"seconds={time.monotonic() - began:.0f} cpu_seconds={sum(t.seconds for t in tallies.values()):.0f} "
        f"peak_mb={max(tally.peak_kb for tally in tallies.values()) >> 10} failed={len(wrong)}"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
