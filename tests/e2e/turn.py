"""A real TURN and STUN server (coturn) on a host of its own, for as long as a test needs it."""

import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec
import pytest
import trio

from tests.e2e.networks import Host

needs_coturn = pytest.mark.skipif(shutil.which("turnserver") is None, reason="coturn is not installed")

USERNAME: Final = "pigeon"
PASSWORD: Final = "a secret that is found nowhere else"
_STARTS_WITHIN: Final = 10.0

_CONFIG: Final = """
listening-ip={address}
relay-ip={address}
listening-port={port}
min-port=49152
max-port=49999
realm=test.invalid
lt-cred-mech
user={username}:{password}
fingerprint
stale-nonce=600
no-tls
no-dtls
no-tcp
no-cli
no-rfc5780
no-stdout-log
simple-log
log-file={log}
pidfile={pid}
userdb={database}
{more}
"""


@dataclass
class TurnServer:
    """A running one; `where` is what --stun takes."""

    host: Host
    port: int
    folder: Path
    more: str = ""
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def where(self) -> str:
        return f"{self.host.address}:{self.port}"

    def file(self, path: Path, *, username: str = USERNAME, password: str = PASSWORD) -> Path:
        """The file that --turn-file takes, with these credentials."""
        server = {"urls": f"turn:{self.where}", "username": username, "credential": password}
        path.write_bytes(msgspec.json.encode(server))
        path.chmod(0o600)
        return path

    async def start(self) -> None:
        """Until it answers."""
        config = self.folder / "turnserver.conf"
        config.write_text(
            _CONFIG.format(
                address=self.host.address,
                port=self.port,
                username=USERNAME,
                password=PASSWORD,
                log=self.folder / "turn.log",
                pid=self.folder / "turn.pid",
                database=self.folder / "turn.db",
                more=self.more,
            )
        )
        line = ["ip", "netns", "exec", self.host.name, "turnserver", "-c", str(config)]
        output = (self.folder / "turn.out").open("wb")
        with output:
            self.process = subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        with trio.fail_after(_STARTS_WITHIN):
            while f":{self.port} " not in self.host.do("ss", "-Huln"):
                assert self.process.poll() is None, (self.folder / "turn.out").read_text()
                await trio.sleep(0.05)

    def stop(self) -> None:
        """At once, as when somebody pulls the plug: nobody is told."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@asynccontextmanager
async def turn_server(
    host: Host, folder: Path, *, port: int = 3478, more: str = ""
) -> AsyncIterator[TurnServer]:
    """One on this host, STUN and TURN at the same port; gone afterwards. `more`: lines for its settings."""
    folder.mkdir(parents=True, exist_ok=True)
    server = TurnServer(host, port, folder, more)
    try:
        await server.start()
        yield server
    finally:
        server.stop()
