"""A peer for test_connect: `lobby_peer.py FOLDER NAME OTHER...` links with the others until SIGTERM."""

import hashlib
import json
import signal
import sys

import trio
from nacl.signing import SigningKey

from node.connect import rendezvous
from node.errors import LinkClosed
from node.link import Link
from node.webrtc import open_rtc
from signaling.carriers import carrier_from_spec


def key_of(name: str) -> SigningKey:
    return SigningKey(hashlib.sha256(name.encode()).digest())


def say(event: str, **fields: str) -> None:
    print(json.dumps({"event": event, **fields}), flush=True)


async def main(folder: str, name: str, others: list[str]) -> None:
    names = {bytes(key_of(other).verify_key): other for other in others}
    linked: dict[bytes, Link] = {}
    leaving = False
    send, links = trio.open_memory_channel[Link](8)
    carrier = carrier_from_spec(f"dir:{folder}")

    async def converse(link: Link) -> None:
        old = linked.get(link.peer)
        linked[link.peer] = link
        if old is not None:
            await old.aclose(deadline=0)
        say("link", peer=names[link.peer], words=" ".join(link.words))
        try:
            await link.send(f"{name} says hello".encode())
            while True:
                say("got", peer=names[link.peer], text=(await link.receive()).decode())
        except LinkClosed:
            if linked.get(link.peer) is link:
                del linked[link.peer]

    async with open_rtc(loopback_only=True) as rtc, trio.open_nursery() as nursery:

        async def meet() -> None:
            await rendezvous(
                rtc=rtc,
                carriers=[carrier],
                identity=key_of(name),
                room=hashlib.sha256(b"room").digest(),
                wanted=lambda: () if leaving else names.keys() - linked.keys(),
                admits=lambda sender, _introduction, _offer_hash: sender in names,
                links=send,
            )

        async def converse_with_all() -> None:
            async for link in links:
                nursery.start_soon(converse, link)

        nursery.start_soon(meet)
        nursery.start_soon(converse_with_all)
        with trio.open_signal_receiver(signal.SIGTERM) as terminated:
            await anext(aiter(terminated))
            leaving = True
            for link in list(linked.values()):
                await link.aclose(deadline=1)
            nursery.cancel_scope.cancel()
    await carrier.aclose()


if __name__ == "__main__":
    trio.run(main, sys.argv[1], sys.argv[2], sys.argv[3:])
