"""One member in its own process, through the node's public functions.

    python -m tests.node.member HOME new|new-ask|join|up NICK CARRIER|TOKEN

Prints every event as a line of JSON; reads commands from stdin, one JSON list a line: ["say", text],
["invite"], ["admit", who], ["status"]. SIGTERM ends it cleanly.
"""

import os
import signal
import sys

import msgspec
import trio

from node.config import Home
from node.node import Node, create_room, open_node, read_invitation
from node.wire import Lines


def tell(value: object) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(value) + b"\n")
    sys.stdout.flush()


async def run(home: Home, verb: str, nick: str, what: str) -> None:
    match verb:
        case "new":
            target = await create_room(home, name="r", nick=nick, rule="auto", via=[what])
        case "new-ask":
            target = await create_room(home, name="r", nick=nick, rule="ask", via=[what])
        case "join":
            target = read_invitation(what)
        case _:
            target = home.room(None)
    async with (
        open_node(home, target, nick=nick, loopback_only=True) as node,
        node.events(since=0) as events,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(obey, node)
        async for event in events:
            tell(event)


async def obey(node: Node) -> None:
    await node.wait_admitted()
    async for line in Lines(trio.lowlevel.FdStream(os.dup(0)), limit=1 << 20):
        match msgspec.json.decode(line):
            case ["say", text]:
                await node.say(text)
            case ["invite"]:
                tell(await node.invite())
            case ["admit", who]:
                await node.admit(who)
            case ["status"]:
                tell(await node.status())


async def main() -> None:
    home, verb, nick, what = sys.argv[1:]
    with trio.open_signal_receiver(signal.SIGTERM) as signals:
        async with trio.open_nursery() as nursery:

            async def watch() -> None:
                async for _ in signals:
                    nursery.cancel_scope.cancel()

            nursery.start_soon(watch)
            await run(Home.at(home), verb, nick, what)


if __name__ == "__main__":
    trio.run(main)
