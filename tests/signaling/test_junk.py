"""A hundred thousand files that somebody put into a folder: bounded cost, and the parcel comes out."""

import gc
import hashlib
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from signaling.carrier import Parcel, ParcelKind
from signaling.carriers import carrier_from_spec

_COUNT = 100_000
_LINKS = 20_000  # names that one file may have; file systems allow 65,000 or fewer
_PATIENCE = 60.0
_MEMORY = 96 << 20
_SHARE = 0.4  # of one processor, while the folder stays as it is
_HONEST = Parcel(kind=ParcelKind.OFFER, key=b"\xff" * 32, payload=b"!" * 512)


@pytest.fixture(scope="module")
def junk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A quarter each: parcels by their names, logs by their names, temporary files, somebody's pictures."""
    place = tmp_path_factory.mktemp("junk")
    source = place.parent / f"{place.name}-source"
    for number in range(_COUNT):
        if number % _LINKS == 0:
            source.unlink(missing_ok=True)
            source.write_bytes(os.urandom(512))
        name = hashlib.sha256(number.to_bytes(4, "big")).hexdigest()
        ending = (f"{name}.offer.bin", f"{name}.{name[:16]}.log", f".pigeon-{name[:16]}.tmp", f"{name}.jpg")
        os.link(source, place / ending[number % 4])
    yield place
    for path in place.iterdir():
        path.unlink()


def _resident() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize("kind", ["dir", "log"])
async def test_a_hundred_thousand_files_of_junk_cost_little_and_hide_nothing(
    junk: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)
    writer, reader = carrier_from_spec(f"{kind}:{junk}"), carrier_from_spec(f"{kind}:{junk}")
    await writer.send(_HONEST)
    before, longest = _resident(), 0.0
    arriving = reader.parcels()

    async def watch_the_loop() -> None:
        nonlocal longest
        while True:
            began = trio.current_time()
            await trio.sleep(0.005)
            longest = max(longest, trio.current_time() - began)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch_the_loop)
        began = time.monotonic()
        with trio.fail_after(_PATIENCE):
            while (await anext(arriving)).key != _HONEST.key:
                pass
        found = time.monotonic() - began
        quiet = trio.CancelScope()
        while not quiet.cancelled_caught:  # the rest of it
            with trio.move_on_after(3) as quiet:
                await anext(arriving)
        spent, began = time.process_time(), time.monotonic()
        with trio.move_on_after(4):  # and once all of it was seen
            async for _ in arriving:
                pass
        share = (time.process_time() - spent) / (time.monotonic() - began)
        nursery.cancel_scope.cancel()
    memory = _resident() - before
    print(f"{kind}: found_s={found:.1f} share={share:.2f} memory_mb={memory >> 20} loop_s={longest:.2f}")
    await writer.aclose()
    assert share < _SHARE
    assert memory < _MEMORY
    assert longest < 1.0
