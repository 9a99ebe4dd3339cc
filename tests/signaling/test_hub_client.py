"""What a hub, or what stands in its place, can do to the HTTP client that asks it."""

import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from signaling.errors import CarrierError
from signaling.hub_client import HubAway, HubClient, hub_url

Answer = Callable[[bytes, trio.abc.Stream], object]
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
EMPTY = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"


@asynccontextmanager
async def server(
    answer: bytes | Callable[[trio.abc.Stream], object], *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[int, list[bytes]]]:
    """Answers each request so; its port, and the heads of the requests it got."""
    heads: list[bytes] = []

    async def serve(plain: trio.SocketStream) -> None:
        stream: trio.abc.Stream = plain
        if tls is not None:
            stream = trio.SSLStream(plain, tls, server_side=True, https_compatible=True)
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async with stream:
                heads.extend(filter(None, [await stream.receive_some(64 * 1024)]))
                if callable(answer):
                    await answer(stream)  # type: ignore[misc]
                else:
                    await stream.send_all(answer)

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        yield listeners[0].socket.getsockname()[1], heads
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def client(where: str) -> AsyncIterator[HubClient]:
    made = HubClient(hub_url(where), channel="c")
    try:
        yield made
    finally:
        await made.aclose()


@pytest.mark.parametrize(
    ("where", "url"),
    [
        ("http://hub.example", "http://hub.example"),
        ("HTTPS://Hub.Example:443/", "https://hub.example"),
        ("http://hub.example:80//", "http://hub.example"),
        ("http://hub.example:/", "http://hub.example"),
        ("http://127.0.0.1:8080/a/b/", "http://127.0.0.1:8080/a/b"),
        ("https://[2001:DB8::1]:8443", "https://[2001:db8::1]:8443"),
        ("http://[::1]", "http://[::1]"),
        ("https://localhost:80", "https://localhost:80"),
    ],
)
def test_an_address_has_one_form(where: str, url: str) -> None:
    assert hub_url(where) == url
    assert hub_url(url) == url


@pytest.mark.parametrize(
    "where",
    [
        "",
        "hub.example",
        "localhost:8080",
        "ftp://hub.example",
        "file:///etc/passwd",
        "http://",
        "http:///v1",
        "http://user:secret@hub.example",
        "http://hub.example,http://other.example",
        "http://hub.example?x=1",
        "http://hub.example/#x",
        "http://hub.example/../v1",
        "http://hub.example/a b",
        "http://hub.example/%0d%0aX",
        "http://hub.example\r\nX: y",
        "http://hub.example\0",
        "http://hub.example:0",
        "http://hub.example:99999",
        "http://hub.example:x",
        "http://[::1",
        "http://[zz]",
        "http://-x",
        "http://x..y/",
        "http://bücher.example",
        "http://" + "x" * 200,
    ],
)
def test_what_is_no_address_is_refused_and_no_more(where: str) -> None:
    with pytest.raises(CarrierError):
        hub_url(where)


async def test_a_redirect_is_not_followed() -> None:
    async with server(EMPTY) as (elsewhere, heads):
        redirect = f"HTTP/1.1 307 X\r\nLocation: http://127.0.0.1:{elsewhere}/\r\nContent-Length: 0\r\n\r\n"
        async with server(redirect.encode()) as (port, _), client(f"http://127.0.0.1:{port}") as hub:
            with pytest.raises(HubAway, match="leads elsewhere"):
                await hub.post(b"1")
            with pytest.raises(HubAway, match="leads elsewhere"):
                async with hub.listen():
                    pass
        assert heads == []


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", "no hub at this address"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nhi",
            "no hub at this address",
        ),
        (STREAM.replace(b"Connection", b"Content-Encoding: gzip\r\nConnection"), "no hub at this address"),
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", "it answers 500"),
        (b"HTTP/1.1 503 Full\r\nContent-Length: 0\r\n\r\n", "busy"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "broke off"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 40_000, "broke off"),
        (b"", "broke off"),
    ],
)
async def test_whatever_is_no_hub_is_said_in_words(answer: bytes, sentence: str) -> None:
    async with server(answer) as (port, _), client(f"http://127.0.0.1:{port}") as hub:
        with pytest.raises(HubAway, match=sentence):
            async with hub.listen():
                pass


async def test_nobody_there_and_an_unknown_name_are_told_apart() -> None:
    async with client("http://127.0.0.1:9") as hub:
        with pytest.raises(HubAway, match="Connection refused"):
            await hub.post(b"1")
    async with client("http://no-such-host.invalid") as hub:
        with pytest.raises(HubAway, match="name is not known"):
            await hub.post(b"1")


async def test_a_busy_hub_is_left_alone_as_long_as_it_asks() -> None:
    busy = b"HTTP/1.1 429 Slow\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"
    async with server(busy) as (port, heads), client(f"http://127.0.0.1:{port}") as hub:
        with pytest.raises(HubAway) as first:
            await hub.post(b"1")
        assert first.value.wait == 1.0
        for _ in range(20):
            with pytest.raises(HubAway, match="busy"):
                await hub.post(b"1")
        assert len(heads) == 1
        await trio.sleep(1.05)
        with pytest.raises(HubAway):
            await hub.post(b"1")
        assert len(heads) == 2


async def test_a_reply_that_never_ends_is_not_read_to_its_end() -> None:
    sent = 0

    async def endless(stream: trio.abc.Stream) -> None:
        nonlocal sent
        await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n")
        while True:
            await stream.send_all(bytes(65536))
            sent += 65536

    async with server(endless) as (port, _), client(f"http://127.0.0.1:{port}") as hub:
        await hub.post(b"1")
    assert sent < 16 << 20, "what fits into the sockets' buffers"


async def test_a_resting_connection_that_the_hub_closed_is_no_trouble() -> None:
    async def one_each(stream: trio.abc.Stream) -> None:
        await stream.send_all(EMPTY)
        await trio.sleep(0.02)  # it rests, and is closed as the next request comes

    async with server(one_each) as (port, heads), client(f"http://127.0.0.1:{port}") as hub:
        for _ in range(10):
            await hub.post(b"1")
            await trio.sleep(0.02)
    assert len(heads) == 10


async def test_nothing_in_a_request_names_the_program_s_parts_or_asks_for_compression() -> None:
    async with server(EMPTY) as (port, heads), client(f"http://127.0.0.1:{port}/deep") as hub:
        await hub.post(b'"box"')
    (head,) = heads
    assert head.startswith(b"POST /deep/v1/pigeon/c HTTP/1.1\r\n")
    names = {line.split(b":")[0].lower() for line in head.split(b"\r\n\r\n")[0].split(b"\r\n")[1:]}
    expected = "host accept accept-encoding connection user-agent content-type content-length"
    assert names == set(expected.encode().split())
    assert b"User-Agent: pigeon\r\n" in head and b"Accept-Encoding: identity\r\n" in head


async def test_proxies_of_the_environment_are_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    async with server(EMPTY) as (proxy, asked), server(EMPTY) as (port, heads):
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy}")
        async with client(f"http://127.0.0.1:{port}") as hub:
            await hub.post(b"1")
        assert (len(heads), asked) == (1, [])


@pytest.mark.parametrize("cut", range(12))
async def test_a_stream_left_or_cancelled_anywhere_leaves_nothing_behind(cut: int) -> None:
    """Warnings of generators left half-way are errors here."""

    async def talk(stream: trio.abc.Stream) -> None:
        await stream.send_all(STREAM)
        while True:
            await stream.send_all(b":x\n" * 1000)
            await trio.lowlevel.checkpoint()

    async with server(talk) as (port, _), client(f"http://127.0.0.1:{port}") as hub:
        with trio.CancelScope() as scope:
            async with hub.listen() as chunks:
                seen = 0
                async for chunk in chunks:
                    seen += len(chunk)
                    if cut % 2 and seen > 1000 * cut:
                        break
                    if seen > 1000 * cut:
                        scope.cancel()
                        await trio.sleep(1)


def _certificate(folder: Path, *, name: str) -> tuple[ssl.SSLContext, Path]:
    """A server's context, and the file of the authority that vouches for it: itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "hub")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(who)
        .issuer_name(who)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(name))]), critical=False
        )
        .sign(key, hashes.SHA256())
    )
    file, keys = folder / "hub.pem", folder / "hub.key"
    file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    keys.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file, keys)
    return context, file


async def test_tls_is_trusted_as_far_as_the_system_trusts_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, file = _certificate(tmp_path, name="127.0.0.1")
    async with server(EMPTY, tls=context) as (port, heads):
        async with client(f"https://127.0.0.1:{port}") as hub:
            with pytest.raises(HubAway, match="certificate cannot be trusted: self-signed"):
                await hub.post(b"1")
        assert heads == []
        monkeypatch.setenv("SSL_CERT_FILE", str(file))  # what the system trusts, for OpenSSL
        async with client(f"https://127.0.0.1:{port}") as hub:
            await hub.post(b"1")
        assert len(heads) == 1
        async with client(f"https://localhost:{port}") as hub:
            with pytest.raises(HubAway, match="certificate cannot be trusted"):
                await hub.post(b"1")
        async with client(f"http://127.0.0.1:{port}") as hub:
            with pytest.raises(HubAway):
                await hub.post(b"1")
