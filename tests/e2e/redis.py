"""A real Redis for the tests, on a socket in a folder of its own; it keeps nothing on disk."""

import datetime
import shutil
import signal
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

PATIENCE = 10.0

needs_redis = pytest.mark.skipif(not shutil.which("redis-server"), reason="needs redis-server")


class RedisServer:
    """One server: it may be killed, put to sleep, and started again with nothing of what it knew."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self.socket = folder / "redis.sock"
        self.options: list[str] = []
        self.user = ""
        """`NAME:PASSWORD@` in its address."""

    @property
    def url(self) -> str:
        return f"unix://{self.user}{self.socket}"

    async def start(self) -> None:
        """With `options` added to its command line; ready when this returns."""
        self.socket.unlink(missing_ok=True)
        command = [
            "redis-server",
            "--port",
            "0",
            "--unixsocket",
            str(self.socket),
            "--dir",
            str(self._folder),
        ]
        command += ["--save", "", "--appendonly", "no", "--logfile", str(self._folder / "log"), *self.options]
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        with trio.fail_after(PATIENCE):
            while await self.say("PING") != "PONG":
                assert self._process.poll() is None, (self._folder / "log").read_text()
                await trio.sleep(0.02)

    async def say(self, *words: str) -> str:
        """What redis-cli prints."""
        done = await trio.run_process(
            ["redis-cli", "-s", str(self.socket), *words],
            capture_stdout=True,
            capture_stderr=True,
            check=False,
        )
        return done.stdout.decode(errors="replace").strip()

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def sleep(self) -> None:
        """It takes connections still, and answers nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def wake(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)


@asynccontextmanager
async def redis_server(folder: Path, *options: str) -> AsyncIterator[RedisServer]:
    """Started; killed at the end. `folder` exists, and its path is short enough for a socket."""
    server = RedisServer(folder)
    server.options += options
    try:
        await server.start()
        yield server
    finally:
        server.kill()


def free_port() -> int:
    """Redis takes no 0 for one."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def self_signed(folder: Path, *, name: str) -> tuple[Path, Path]:
    """The files of a certificate for this host name, which vouches for itself, and of its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "redis")])
    certificate = (
        x509.CertificateBuilder(who, who, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    form, secret = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    files = folder / "redis.pem", folder / "redis.key"
    for file, text in zip(
        files, (certificate.public_bytes(pem), key.private_bytes(pem, form, secret)), strict=True
    ):
        file.write_bytes(text)
    return files
