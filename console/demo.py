"""The demo: real processes, driven through the public commands, show on this machine what pigeon promises.

They meet in one shared folder and connect over WebRTC; the first step that does not hold ends it.
"""

import re
import shlex
import shutil
import statistics
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

import msgspec
import trio

from console.children import Child, ChildFailed, Event, Family, family, output_of
from console.settings import Settings
from console.story import Story
from node.errors import Exit, NodeError

NAMES: Final = ("ann", "bob", "cal", "dee", "eve", "fay", "gus", "hal", "ivy", "joe")
PATIENCE: Final = 30.0  # seconds for anything one waits for
_LOOK_AGAIN: Final = 0.1

_SAYINGS: Final = (
    "good morning",
    "who brings the bread?",
    "the train is late",
    "it rains in the valley",
    "see you at eight",
    "I have the key",
    "the boat is painted",
)

_LIES: Final = ("the money is in the blue tin", "the money is in the red tin")

_NEXT: Final = """
Every step held. Try it yourself, in two terminals:

{activate}  pigeon new tea --as ann --via dir:/tmp/lobby --home /tmp/ann     (prints an invitation)
  pigeon join TOKEN --as bob --home /tmp/bob                       (then, at ann's: /admit bob)

and while that runs, in a third:

  pigeon log --home /tmp/ann
  pigeon status --why --home /tmp/bob
  pigeon verify --store --home /tmp/ann"""


def what_next(program: Path) -> str:
    """What to try. `program`: this one; who cannot call it by its name alone is told how to."""
    script = program.absolute().parent / "activate"
    away = shutil.which("pigeon") is None and script.is_file()
    return _NEXT.format(
        activate=f"  source {shlex.quote(str(script))}     (first, in each)\n" if away else ""
    )


async def demo(settings: Settings, *, members: int, messages: int, keep: Path | None) -> int:
    """The whole story; NodeError (exit 1) as soon as a step does not hold."""
    story = Story(settings)
    with _workplace(keep) as place, trio.move_on_after(_limit(settings)) as limit:
        try:
            async with family() as children:
                await Demo(story, children, place, names=NAMES[:members], messages=messages).play()
        except* ChildFailed as failures:
            raise NodeError(
                f"The demo stopped: {first_leaf(failures)}",
                "Run it with --keep DIR to look at what it left.",
                exit_code=Exit.NO,
            ) from None
    if limit.cancelled_caught:
        raise NodeError(
            "The demo took too long.", "The machine may be busy; give it --timeout.", exit_code=Exit.NO
        )
    await story.tell(what_next(Path(sys.argv[0])))
    return Exit.DONE


class Demo:
    """Who takes part, where their homes are, and what each has to show."""

    def __init__(
        self, story: Story, children: Family, place: Path, *, names: tuple[str, ...], messages: int
    ) -> None:
        self._story = story
        self._children = children
        self._place = place
        self._names = names
        self._messages = messages
        self._nodes: dict[str, Child] = {}
        self._evidence = place

    async def play(self) -> None:
        names = self._names
        await self._story.tell(
            f"{len(names)} nodes, each a process with a home of its own in {self._place}.\n"
            "They know nothing of each other but one shared folder."
        )
        await self._meet()
        await self._everyone_speaks()
        await self._same_record("all logs are the same, byte for byte apart from `mine`", names)
        await self._one_is_killed(names[-1])
        await self._it_comes_back(names[-1])
        await self._same_record("all logs are the same again", names)
        await self._one_lies(names[-1])
        await self._a_stranger_checks(names[0])
        await self._all_stop()
        await self._a_byte_is_flipped(names[1])

    def home(self, name: str) -> Path:
        return self._place / name

    async def _start(self, name: str, verb: str, *arguments: str) -> Child:
        child = await self._children.start(
            name, verb, *arguments, "--json", "--quiet", "--home", str(self.home(name))
        )
        self._nodes[name] = child
        return child

    async def _meet(self) -> None:
        first, *others = self._names
        async with self._story.step(f"{first} makes a room") as step:
            lobby = f"dir:{self._place / 'lobby'}"
            node = await self._start(first, "new", "demo", "--as", first, "--via", lobby, "--admit", "auto")
            room = await node.wait_for("room", within=PATIENCE)
            invitation = await node.wait_for("invite", within=PATIENCE)
            step.detail = f"fingerprint {room['fingerprint'][:16]}…"
        for n, name in enumerate(others, start=2):
            async with self._story.step(f"{name} joins with an invitation, over WebRTC") as step:
                if n > 2:
                    invitation = await self._invitation()
                node = await self._start(name, "join", "-", "--as", name)
                await node.say(invitation["token"])
                for each in self._nodes.values():
                    room = await each.wait_for("room", within=PATIENCE, where=partial(_has_members, n))
                step.detail = f"{n} members, quorum {room['quorum']}"
        async with self._story.step("everyone is linked with everyone"):
            for child in self._nodes.values():
                await self._wait_until_up(child, len(self._names))

    async def _invitation(self) -> Event:
        node = self._nodes[self._names[0]]
        seen = len(node.events)
        await node.say("/invite")
        return await node.wait_for("invite", within=PATIENCE, since=seen)

    async def _wait_until_up(self, child: Child, up: int) -> None:
        with trio.move_on_after(PATIENCE):
            while True:
                seen = len(child.events)
                await child.say("/status")
                status = await child.wait_for("status", within=PATIENCE, since=seen)
                if status["up"] == up:
                    return
                await trio.sleep(_LOOK_AGAIN)  # between questions, not in the hope of an answer
        raise child.failed(f"it saw {status['up']} of {up} members up")

    async def _everyone_speaks(self) -> None:
        names, count = self._names, self._messages
        async with self._story.step(f"everyone says {count} things at once") as step:
            starts = {name: len(node.events) for name, node in self._nodes.items()}

            async def speak(name: str) -> None:
                for number in range(count):
                    saying = _SAYINGS[(number + names.index(name)) % len(_SAYINGS)]
                    await self._nodes[name].say(f"{saying} ({name} {number + 1})")

            async with trio.open_nursery() as nursery:
                for name in names:
                    nursery.start_soon(speak, name)
            for name, node in self._nodes.items():
                await node.wait_for_all("final", count * len(names), within=PATIENCE, since=starts[name])
            waits = [wait for node in self._nodes.values() for wait in waits_for_final(node)]
            step.detail = (
                f"{count * len(names)} messages final at all {len(names)}; "
                f"from pending to final {statistics.median(waits) * 1000:.0f} ms in the middle, "
                f"{max(waits) * 1000:.0f} ms at most"
            )

    async def _same_record(self, title: str, names: tuple[str, ...]) -> None:
        async with self._story.step(title) as step:
            logs = await self._logs(names)
            with trio.move_on_after(PATIENCE):
                while len(set(map(len, logs))) > 1:  # a block is on its way to one of them
                    await trio.sleep(_LOOK_AGAIN)
                    logs = await self._logs(names)
            longest = max(logs, key=len)
            for name, log in zip(names, logs, strict=True):
                if log != longest:
                    raise ChildFailed(f"The log of {name} differs from the others'.")
            for line in longest[-3:]:
                event = msgspec.json.decode(line)
                await step.note(f"■ #{event['index']:<4} {event['nick']}: {event['text']}")
            step.detail = f"{len(longest)} messages in one order"

    async def _logs(self, names: tuple[str, ...]) -> list[list[bytes]]:
        logs: dict[str, list[bytes]] = {}

        async def read(name: str) -> None:
            logs[name] = await self._log(name)

        async with trio.open_nursery() as nursery:
            for name in names:
                nursery.start_soon(read, name)
        longest = max(logs.values(), key=len)
        for name, log in logs.items():
            if log != longest[: len(log)]:
                raise ChildFailed(f"The log of {name} contradicts another.")
        return [logs[name] for name in names]

    async def _log(self, name: str) -> list[bytes]:
        code, output, complaints = await output_of("log", "--json", "--home", str(self.home(name)))
        if code != Exit.DONE:
            raise ChildFailed(f"`pigeon log` of {name} exits {code}: {complaints.decode(errors='replace')}")
        return [without_mine(line) for line in output.splitlines()]

    async def _one_is_killed(self, name: str) -> None:
        async with self._story.step(f"{name} is killed (kill -9); the others go on") as step:
            killed = self._nodes.pop(name)
            killed.process.kill()
            await killed.wait(within=PATIENCE)
            await self._all_say("without {absent}, says {name}", absent=name)
            step.detail = f"{len(self._nodes)} messages final at all {len(self._nodes)} without {name}"

    async def _all_say(self, saying: str, *, absent: str) -> None:
        starts = {name: len(node.events) for name, node in self._nodes.items()}
        for name, node in self._nodes.items():
            await node.say(saying.format(name=name, absent=absent))
        for name, node in self._nodes.items():
            await node.wait_for_all("final", len(self._nodes), within=PATIENCE, since=starts[name])

    async def _it_comes_back(self, name: str) -> None:
        async with self._story.step(f"{name} comes back and catches up") as step:
            missed = len(self._nodes)
            node = await self._start(name, "chat")
            await node.wait_for_all("final", missed, within=PATIENCE)
            await node.say("what did I miss?")
            for each in self._nodes.values():
                await each.wait_for(
                    "final", within=PATIENCE, where=lambda event: event["text"] == "what did I miss?"
                )
            step.detail = f"it has the {missed} messages it missed, and speaks"

    async def _one_lies(self, name: str) -> None:
        """Its node is replaced by one that signs twice; what the others do about it is their own."""
        async with self._story.step(f"{name}'s key signs two messages for one place") as step:
            gone = self._nodes.pop(name)
            gone.process.terminate()
            await gone.wait(within=PATIENCE)
            starts = {each: len(node.events) for each, node in self._nodes.items()}
            liar = await self._children.start(name, str(self.home(name)), *_LIES, program="node.liar")
            await liar.wait_for("notice", within=PATIENCE)
            await step.note(f"half of the others were shown “{_LIES[0]}”, the rest “{_LIES[1]}”")
            for each, node in self._nodes.items():
                caught = await node.wait_for("evidence", within=PATIENCE, since=starts[each])
                if caught["nick"] != name or not Path(caught["file"]).exists():
                    raise ChildFailed(f"{each} holds no evidence against {name}: {dict(caught)}")
                self._evidence = Path(caught["file"])
            await self._all_say("{name} does not need {absent}", absent=name)
            liar.process.terminate()
            await liar.wait(within=PATIENCE)
            step.detail = f"all {len(self._nodes)} others hold the evidence ({caught['kind']}), and go on"
        honest = tuple(each for each in self._names if each != name)
        await self._same_record(f"without {name} the logs are the same", honest)

    async def _a_stranger_checks(self, first: str) -> None:
        """Nothing but the file and the room's fingerprint, which it has from elsewhere."""
        async with self._story.step("a stranger checks that evidence, with nothing but the file") as step:
            room = next(event for event in self._nodes[first].events if event["event"] == "room")
            file = self._place / "from-a-stranger.json"
            content = self._evidence.read_bytes()
            file.write_bytes(content)
            reason = await self._verdict(file, room["fingerprint"], expected=Exit.DONE)
            await self._verdict(file, "0" * 64, expected=Exit.MISMATCH)
            words = b'"kind": "two '
            if words not in content:
                raise ChildFailed("The file does not say in words what it is about.")
            file.write_bytes(content.replace(words, b'"kind": "few '))
            await self._verdict(file, room["fingerprint"], expected=Exit.NO)
            await step.note("as of another room, or with a word changed, it is refused")
            step.detail = reason

    async def _verdict(self, file: Path, room: str, *, expected: Exit) -> str:
        code, output, complaints = await output_of(
            "verify", str(file), "--room", room, "--json", "--home", str(self._place / "nobody")
        )
        if code != expected:
            said = (output + complaints).decode(errors="replace")
            raise ChildFailed(f"`pigeon verify` exits {code} instead of {expected}: {said}")
        return str(msgspec.json.decode(output.splitlines()[0])["reason"])

    async def _all_stop(self) -> None:
        async with self._story.step("all stop when asked to") as step:
            for node in self._nodes.values():
                node.process.terminate()
            codes = {await node.wait(within=PATIENCE) for node in self._nodes.values()}
            if codes != {143}:
                raise ChildFailed(f"After SIGTERM the exit codes were {sorted(codes)}, not 143.")
            step.detail = "exit code 143, as after any SIGTERM"

    async def _a_byte_is_flipped(self, name: str) -> None:
        async with self._story.step(f"a byte of a copy of {name}'s record is flipped") as step:
            copy = self._place / f"{name}-copy"
            shutil.copytree(self.home(name), copy)
            code, output, _ = await output_of("verify", "--store", "--json", "--home", str(copy))
            if code != Exit.BYZANTINE:
                raise ChildFailed(f"The copy is not sound before anything was changed: {output.decode()}")
            await step.note(f"before: {msgspec.json.decode(output.splitlines()[0])['reason']}")
            message = msgspec.json.decode((await self._log(name))[0])
            flip_words(copy, message["text"].encode())
            await step.note(f"flipped: one bit of “{message['text']}”, which is in block {message['height']}")
            code, output, _ = await output_of("verify", "--store", "--json", "--home", str(copy))
            verdict = msgspec.json.decode(output.splitlines()[0]) if output else {"reason": ""}
            named = re.search(rf"\bblock {message['height']}\b", verdict["reason"])
            if code != Exit.NO or not named:
                raise ChildFailed(f"`verify --store` exits {code} and says: {verdict['reason']}")
            step.detail = f"`verify --store` says: {verdict['reason']}"


def _has_members(n: int, room: Event) -> bool:
    return bool(room["n"] == n)


def waits_for_final(node: Child) -> list[float]:
    """Seconds from `pending` to `final` of each of a node's own messages, as read from its pipe."""
    pending: dict[str, float] = {}
    waits: list[float] = []
    for event, time in zip(node.events, node.times, strict=True):
        if event["event"] == "pending":
            pending[event["id"]] = time
        elif event["event"] == "final" and event["id"] in pending:
            waits.append(time - pending.pop(event["id"]))
    return waits


def without_mine(line: bytes) -> bytes:
    """A line of `log --json` without the one field that may differ between members."""
    return re.sub(rb',"mine":(true|false)', b"", line)


def flip_words(home: Path, words: bytes) -> None:
    """Change one byte of a message wherever it stands in a home's files."""
    found = 0
    for path in sorted(home.rglob("*")):
        if path.is_file() and words in (content := path.read_bytes()):
            path.write_bytes(content.replace(words, bytes([words[0] ^ 1]) + words[1:]))
            found += 1
    if not found:
        raise ChildFailed("The words of the message are in no file of the copy.")


def first_leaf(group: BaseExceptionGroup[ChildFailed]) -> BaseException:
    """The first error in a group that is none itself."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _limit(settings: Settings) -> float:
    return 180.0 if settings.timeout is None else settings.timeout


@contextmanager
def _workplace(keep: Path | None) -> Iterator[Path]:
    """Where the homes are: DIR, which must be empty, or a directory that is gone afterwards."""
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="pigeon-demo-", ignore_cleanup_errors=True) as directory:
            yield Path(directory)
        return
    if keep.exists() and (not keep.is_dir() or any(keep.iterdir())):
        raise NodeError(
            f"{keep} is not an empty directory.",
            "Name one that is, or is not there yet.",
            exit_code=Exit.USAGE,
        )
    keep.mkdir(parents=True, exist_ok=True)
    yield keep.absolute()
