"""Real node processes, forked from one that has imported everything: what is killed is the real command line.

One thread, one selector: a driver that starts processes by fork must have no other thread.
"""

import faulthandler
import gc
import json
import os
import random
import selectors
import signal
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NoReturn

import cli
import console.messages
import console.questions
import console.rooms
import console.shell
import console.verify
import node.webrtc
from tests.crash import deadly

PATIENCE: Final = 60.0
_MOST_DESCRIPTORS: Final = 1024
_LOOK_AGAIN: Final = 0.02
_STACKS: Final = 2.0

Event = Mapping[str, Any]


class CrashFailed(AssertionError):
    """A promise was broken, or something did not happen in time."""


class Child:
    """One process, and everything that it said."""

    def __init__(self, name: str, pid: int, *, stdin: int, stdout: int, stderr: int) -> None:
        self.name = name
        self.pid = pid
        self.events: list[Event] = []
        self.lines: list[bytes] = []
        self.code: int | None = None
        """Its exit code once it has ended; minus the signal's number if one ended it."""
        self._stdin: int | None = stdin
        self._outgoing = bytearray()
        self._over = False
        self.stdout = stdout
        self._stderr = stderr
        self._complaints = b""
        self._rest = b""

    def say(self, *lines: str) -> None:
        """Lines into its standard input; a process that has died takes none."""
        assert self._stdin is not None
        self._outgoing += "".join(f"{line}\n" for line in lines).encode()
        self.pump()

    def end_input(self) -> None:
        """No more lines after those that were said."""
        self._over = True
        self.pump()

    def pump(self) -> bool:
        """Write what the pipe takes; whether more is to be written."""
        if self._stdin is None:
            return False
        try:
            while self._outgoing:
                del self._outgoing[: os.write(self._stdin, self._outgoing)]
        except BlockingIOError:
            return True
        except BrokenPipeError:
            self._outgoing.clear()
        if self._over:
            os.close(self._stdin)
            self._stdin = None
        return False

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        if self.code is None:
            os.kill(self.pid, number)

    def take(self) -> bool:
        """Read what there is; False at the end."""
        try:
            chunk = os.read(self.stdout, 1 << 16)
        except BlockingIOError:
            return True
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        self.lines += lines
        self.events += [json.loads(line) for line in lines]
        if chunk:
            return True
        self.complaints()
        os.close(self.stdout)
        os.close(self._stderr)
        self._stderr = -1
        self._outgoing.clear()
        self.end_input()
        self.code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return False

    def shown(self, kind: str) -> list[Event]:
        return [event for event in self.events if event["event"] == kind]

    def complaints(self) -> str:
        """What it wrote to standard error; never so much that the pipe is full."""
        with suppress(BlockingIOError, OSError):
            self._complaints += os.read(self._stderr, 1 << 16)
        return self._complaints.decode(errors="replace")[-6000:]


class Hatch:
    """Starts children and listens to all of them at once."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._selector = selectors.DefaultSelector()
        self._running: dict[int, Child] = {}
        self.started = 0

    def start(self, name: str, *arguments: str, death: deadly.Death | None = None) -> Child:
        """`pigeon ARGUMENTS` in a process of its own; its signatures go to the record of `name`."""
        self.started += 1
        # Pipes, no files: on a full disk it still can say so.
        theirs_in, ours_in = os.pipe()
        ours_out, theirs_out = os.pipe()
        ours_err, theirs_err = os.pipe()
        sys.stdout.flush()
        gc.disable()
        pid = os.fork()
        if pid == 0:
            gc.freeze()  # garbage of ours that was collected there would close descriptors of the child's
            gc.enable()
            _redirect(theirs_in, theirs_out, theirs_err)
            _become(arguments, death=death, witness=self.witness(name))
        gc.enable()
        for each in (theirs_in, theirs_out, theirs_err):
            os.close(each)
        for each in (ours_in, ours_out, ours_err):
            os.set_blocking(each, False)
        child = Child(name, pid, stdin=ours_in, stdout=ours_out, stderr=ours_err)
        self._running[ours_out] = child
        self._selector.register(ours_out, selectors.EVENT_READ)
        return child

    def witness(self, name: str) -> Path:
        return self.directory / f"{name}.witness"

    def run(
        self, name: str, *arguments: str, lines: tuple[str, ...] = (), death: deadly.Death | None = None
    ) -> Child:
        """The same to its end, with these lines as all of its input."""
        child = self.start(name, *arguments, death=death)
        child.say(*lines)
        child.end_input()
        return self.ended(child)

    def ended(self, child: Child, *, within: float = PATIENCE) -> Child:
        self.until(lambda: child.code is not None, within=within, what=f"{child.name} ends", on=child)
        return child

    def until(
        self,
        so: Callable[[], bool],
        *,
        within: float = PATIENCE,
        what: str,
        on: Child | None = None,
        ask: Callable[[], str] = str,
    ) -> None:
        """Listen until it is so; CrashFailed if that takes longer than `within` seconds.

        `ask`: what else to find out for that error, while all still run.
        """
        deadline = time.monotonic() + within
        while not so():
            left = deadline - time.monotonic()
            if left <= 0:
                said = ask()
                said += "" if on is None else f"\n{[*on.events[-8:]]}\n{self._where_it_hangs(on)}"
                raise CrashFailed(f"not within {within:g} s: {what}{said}")
            more = [child.pump() for child in self._running.values()]
            for key, _ in self._selector.select(min(left, _LOOK_AGAIN) if any(more) else left):
                child = self._running[key.fd]
                if not child.take():
                    self._selector.unregister(key.fd)
                    del self._running[key.fd]

    def _where_it_hangs(self, child: Child) -> str:
        """Its stacks, and whatever else it has to complain of; that ends it."""
        child.kill(signal.SIGABRT)
        deadline = time.monotonic() + _STACKS
        while child.code is None and time.monotonic() < deadline:
            for key, _ in self._selector.select(_LOOK_AGAIN):
                if key.fd == child.stdout and not child.take():
                    self._selector.unregister(key.fd)
                    del self._running[key.fd]
        return child.complaints()

    def stop(self) -> None:
        """End everything that still runs."""
        for child in list(self._running.values()):
            child.kill()
        self.until(lambda: not self._running, what="everything ends")


def _redirect(stdin: int, stdout: int, stderr: int) -> None:
    """Streams of its own, and nobody else's."""
    os.setsid()
    os.dup2(stdin, 0)
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    os.closerange(3, _MOST_DESCRIPTORS)
    sys.stdin, sys.stdout, sys.stderr = (
        os.fdopen(each, mode) for each, mode in ((0, "r"), (1, "w"), (2, "w"))
    )


def _become(arguments: tuple[str, ...], *, death: deadly.Death | None, witness: Path) -> NoReturn:
    """The command line, to its end."""
    code = 70
    try:
        faulthandler.enable(all_threads=True)
        random.seed()
        deadly.arm(death, witness=witness)
        code = cli._main(list(arguments))
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


WARM: Final = (console.messages, console.questions, console.rooms, console.shell, console.verify, node.webrtc)
node.webrtc_guards.aiortc_parts()
gc.freeze()  # what is imported is shared by all children, and not looked at by any
