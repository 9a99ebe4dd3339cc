"""`pigeon pipe` with werift, a WebRTC of its own in TypeScript: either side offers."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import trio

from tests.e2e.pipes import PATIENCE, pair

WERIFT = Path(__file__).parent / "werift"
BYTES = bytes(at * at % 251 for at in range(4096)) * 256

pytestmark = pytest.mark.skipif(
    not (shutil.which("node") and (WERIFT / "node_modules" / "werift").exists()),
    reason="werift is not there: npm ci --prefix tests/e2e/werift",
)


@pytest.mark.parametrize("werift_offers", [True, False], ids=["werift offers", "werift answers"])
async def test_text_and_a_megabyte_each_way_and_the_end_of_ours_is_seen(
    tmp_path: Path, werift_offers: bool
) -> None:
    async with pair(tmp_path) as pipes:
        if werift_offers:
            pipe, line = await pipes.answerer(), ("offer", pipes.answer, pipes.offer)
        else:
            pipe, line = await pipes.offerer(), ("answer", pipes.offer, pipes.answer)
        told = b""

        async def run_werift() -> None:
            nonlocal told
            with trio.fail_after(PATIENCE):
                done = await trio.run_process(
                    ["node", str(WERIFT / "peer.mjs"), *map(str, line)], capture_stdout=True
                )
            told = done.stdout

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_werift)
            await pipe.write(BYTES[::-1])
            await pipe.end()
            assert await pipe.code() == 0, pipe.said
        assert pipe.received == b"text from werift\n" + BYTES
        assert json.loads(told) == {
            "label": "from werift" if werift_offers else "pipe",
            "bytes": len(BYTES),
            "sha256": hashlib.sha256(BYTES[::-1]).hexdigest(),
        }
