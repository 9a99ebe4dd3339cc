"""`pigeon pipe` with a real Chromium: either side offers, text and bytes, a megabyte each way, every end."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from tests.e2e.browser import PATIENCE, Page, chromium, needs_chromium
from tests.e2e.pipes import Pair, Pipe, pair

pytestmark = needs_chromium

SIZE = 1 << 20
BYTES = bytes(at * at % 251 for at in range(4096)) * 256

# What any page would write. Nothing in it knows pigeon, but for the meaning of an empty message.
PAGE = """
    var pc = new RTCPeerConnection(), channel, received = [], ended = false, isClosed = false;
    var opened = new Promise(resolve => globalThis.isOpen = resolve);
    var bytes = Uint8Array.from({length: 1 << 20}, (_, at) => (at % 4096) ** 2 % 251);
    function use(it) {
        channel = it;
        it.binaryType = 'arraybuffer';
        it.onmessage = ({data}) => data.byteLength === 0 ? ended = true : received.push(data);
        it.onclose = () => isClosed = true;
        it.onopen = isOpen;
        if (it.readyState === 'open') isOpen();
    }
    async function gathered() {
        while (pc.iceGatheringState !== 'complete')
            await new Promise(resolve => setTimeout(resolve, 10));
        return JSON.stringify(pc.localDescription);
    }
    async function offers(options) {
        use(pc.createDataChannel('from a page', options));
        await pc.setLocalDescription();
        return gathered();
    }
    async function answers(offer) {
        pc.ondatachannel = ({channel}) => use(channel);
        await pc.setRemoteDescription(offer);
        await pc.setLocalDescription();
        return gathered();
    }
    function until(so) {
        return new Promise(resolve => {
            const look = () => so() ? resolve(true) : setTimeout(look, 10);
            look();
        });
    }
    async function all() {
        await until(() => ended || isClosed);
        return new Uint8Array(await new Blob(received).arrayBuffer());
    }
    0
"""


@asynccontextmanager
async def joined(place: Path, *, page_offers: bool) -> AsyncIterator[tuple[Page, Pipe, Pair]]:
    """A page and a pipe with an open channel between them."""
    async with chromium(place / "profile") as page, pair(place) as pipes:
        await page.do(PAGE)
        if page_offers:
            pipes.offer.write_text(await page.do("await offers()"))
            pipe = await pipes.answerer()
            await page.do(f"await pc.setRemoteDescription({await description(pipes.answer)})")
        else:
            pipe = await pipes.offerer()
            pipes.answer.write_text(await page.do(f"await answers({await description(pipes.offer)})"))
        await page.do("await opened; 0")
        yield page, pipe, pipes


async def description(path: Path) -> str:
    with trio.fail_after(PATIENCE):
        while not path.exists():
            await trio.sleep(0.01)
    return path.read_text()


@pytest.mark.parametrize("page_offers", [True, False], ids=["page offers", "page answers"])
async def test_text_and_a_megabyte_each_way_and_both_ends_are_seen(tmp_path: Path, page_offers: bool) -> None:
    async with joined(tmp_path, page_offers=page_offers) as (page, pipe, pipes):
        theirs = (pipes.offer if page_offers else pipes.answer).read_text()
        assert ".local" in theirs, "this browser hides its addresses, as it would at home"
        text = "grüß dich, 🕊\n"
        await page.do(f"channel.send({json.dumps(text)}); channel.send('')")
        await pipe.has(len(text.encode()))
        assert pipe.received.decode() == text
        await page.do(
            "for (let at = 0; at < bytes.length; at += 65536) channel.send(bytes.slice(at, at + 65536))"
        )
        await pipe.write(BYTES)
        await pipe.end()
        assert await page.do("(await all()).length") == SIZE
        assert await page.do("received.every(each => each instanceof ArrayBuffer)")
        assert await page.do("(await all()).every((each, at) => each === bytes[at])")
        await page.do("channel.send(new ArrayBuffer(0))")
        assert await pipe.code() == 0, pipe.said
        assert pipe.received == text.encode() + BYTES
        assert await page.do("await until(() => isClosed)"), "the channel is closed in good order"
        assert await page.do("channel.label") == ("from a page" if page_offers else "pipe")


async def test_a_page_that_closes_the_channel_ends_both_directions_and_loses_nothing(tmp_path: Path) -> None:
    async with joined(tmp_path, page_offers=True) as (page, pipe, _):
        await page.do(
            "for (let at = 0; at < bytes.length; at += 65536) channel.send(bytes.slice(at, at + 65536))"
        )
        await page.do("channel.close()")
        assert await pipe.code() == 0, pipe.said
        assert pipe.received == BYTES


async def test_a_page_that_is_merely_gone_is_no_end_of_the_data(tmp_path: Path) -> None:
    async with joined(tmp_path, page_offers=True) as (page, pipe, _):
        await page.do("channel.send('half of it')")
        await pipe.has(10)
        await page.do("pc.close()")
        assert await pipe.code() == 4
        assert "may be missing" in pipe.said


async def test_one_message_of_the_size_that_we_say_we_take_arrives_whole(tmp_path: Path) -> None:
    async with joined(tmp_path, page_offers=False) as (page, pipe, _):
        assert await page.do("pc.sctp.maxMessageSize") == 1 << 18
        await page.do("channel.send(bytes.slice(0, 1 << 18))")
        await pipe.has(1 << 18)
        assert pipe.received == BYTES[: 1 << 18]


async def test_a_page_that_sends_faster_than_anybody_reads_is_held_back(tmp_path: Path) -> None:
    async with chromium(tmp_path / "profile") as page, pair(tmp_path) as pipes:
        await page.do(PAGE)
        pipes.offer.write_text(await page.do("await offers()"))
        pipe = await pipes.answerer(stalled=True)
        await page.do(f"await pc.setRemoteDescription({await description(pipes.answer)})")
        await page.do("await opened; 0")
        await page.do("""
            var left = [];
            for (let turn = 0; turn < 8; turn++)
                for (let at = 0; at < bytes.length; at += 65536) channel.send(bytes.slice(at, at + 65536));
            // Until nothing has left it for longer than a probe takes.
            for (let same = 0; same < 15; same = left.at(-1) === left.at(-2) ? same + 1 : 0) {
                left.push(channel.bufferedAmount);
                await new Promise(resolve => setTimeout(resolve, 100));
            }
        """)
        assert await page.do("channel.bufferedAmount") > 4 << 20
        await page.do("channel.close()")
        pipe.go_on()
        await pipe.end()
        assert await pipe.code() == 0, pipe.said
        assert pipe.received == BYTES * 8


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("offers({ordered: false})", "lose messages"),
        ("offers({maxRetransmits: 0})", "lose messages"),
        ("offers().then(() => { pc.createDataChannel('more'); return gathered() })", "another channel"),
    ],
)
async def test_a_channel_that_is_not_the_one_reliable_one_is_refused(
    tmp_path: Path, script: str, why: str
) -> None:
    async with chromium(tmp_path / "profile") as page, pair(tmp_path) as pipes:
        await page.do(PAGE)
        pipes.offer.write_text(await page.do(f"await {script}"))
        pipe = await pipes.answerer()
        await page.do(f"await pc.setRemoteDescription({await description(pipes.answer)})")
        assert await pipe.code() == 4
        assert why in pipe.said


async def test_candidates_that_trickle_in_after_the_offer_are_used(tmp_path: Path) -> None:
    """The page says none in its offer, knows none of ours, and so has to be checked at what comes later."""
    async with chromium(tmp_path / "profile") as page, pair(tmp_path) as pipes:
        await page.do(PAGE)
        await page.do("var trickled = []; pc.onicecandidate = ({candidate}) => trickled.push(candidate)")
        await page.do("await offers()")
        bare = await page.do(
            "({type: 'offer', sdp: pc.localDescription.sdp.replaceAll(/a=candidate.*\\r\\n/g, '')})"
        )
        offer = json.dumps(bare) + "\n"
        pipes.offer.write_text(offer)
        pipe = await pipes.answerer()
        answer = json.loads(await description(pipes.answer))
        found = await page.do("JSON.parse(JSON.stringify(trickled.filter(each => each?.candidate)))")
        lines = [{"type": "candidate", "candidate": each} for each in found]
        addresses = [line for line in answer["sdp"].split("\r\n") if line.startswith("a=candidate:")]
        address = addresses[0].split(" ")[4]
        for line in lines:  # as a page with leave to show its addresses would
            name = next(word for word in line["candidate"]["candidate"].split(" ") if word.endswith(".local"))
            line["candidate"]["candidate"] = line["candidate"]["candidate"].replace(name, address)
        answer["sdp"] = "\r\n".join(each for each in answer["sdp"].split("\r\n") if each not in addresses)
        await page.do(f"await pc.setRemoteDescription({json.dumps(answer)})")
        pipes.offer.write_text(offer + "".join(f"{json.dumps(line)}\n" for line in lines))
        await page.do("await opened; 0")
        await page.do("channel.close()")
        await pipe.end()
        assert await pipe.code() == 0, pipe.said
