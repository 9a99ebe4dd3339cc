"""Where the hub listens: an address out of what the user wrote, sockets on it, and enough descriptors."""

import errno
import os
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

from signaling.errors import SignalError

_BACKLOG: Final = 4096
_SPARE_DESCRIPTORS: Final = 128
_INHERITED: Final = (
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    # What the kernel holds for a client that does not read, or of one that says too much, is memory too.
    (socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024),
    (socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024),
    # Whoever vanished without a word is found out within a minute or two.
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 60_000),
)
"""Of every connection that is accepted; Linux hands them on from the listening socket."""


class CannotListen(SignalError):
    """The address is not ours, taken, or needs another user."""

    message = "The hub cannot listen there."
    hint = "Give another address: --listen HOST:PORT"


def parse_listen(text: str) -> tuple[str, int]:
    """`HOST:PORT`, `[IPV6]:PORT`, `:PORT` (all addresses) or `PORT` (127.0.0.1). Raises CannotListen."""
    host, colon, port = text.rpartition(":")
    if not colon:
        host = "127.0.0.1"
    elif host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise CannotListen(f"{text} is no address to listen on.", "Write an IPv6 address as [ADDRESS]:PORT.")
    if not (port.isascii() and port.isdecimal() and int(port) < 65536):
        raise CannotListen(f"{text} is no address to listen on.", "Write HOST:PORT, as 127.0.0.1:8080.")
    return host, int(port)


def listen(host: str, port: int) -> list[socket.socket]:
    """Listening sockets, not blocking; blocking while the name is looked up. host "": all addresses.

    What they accept has small buffers and sends without Nagle's delay.
    """
    try:
        if not host and socket.has_dualstack_ipv6():
            with _unless_ipv6_is_off():
                return [_ready(socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True))]
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        sockets: list[socket.socket] = []
        for family, _, _, _, address in dict.fromkeys(found):
            place = (str(address[0]), sockets[0].getsockname()[1] if sockets else port)
            try:
                sockets.append(_ready(socket.create_server(place, family=family)))
            except OSError:
                if not sockets:
                    raise
        return sockets
    except OSError as error:
        # Python adds the address to the system's words, except where a name was looked up.
        why = error.strerror or "unknown"
        if error.errno is not None and not isinstance(error, socket.gaierror):
            why = os.strerror(error.errno)
        said = f"The hub cannot listen on {host or '*'}:{port}: {why[:1].lower()}{why[1:]}."
        raise CannotListen(said) from None


@contextmanager
def _unless_ipv6_is_off() -> Iterator[None]:
    try:
        yield
    except OSError as error:  # compiled in, and switched off by the system's settings
        if error.errno != errno.EADDRNOTAVAIL:
            raise


def url_of(listener: socket.socket) -> str:
    """How it is reached, from this machine at least."""
    host, port = listener.getsockname()[:2]
    if host in ("::", "0.0.0.0"):
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def allow_descriptors(wanted: int) -> int:
    """Have the system let us open so many, or as many as it does; how many connections that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted + _SPARE_DESCRIPTORS:
        most = hard if hard != resource.RLIM_INFINITY else wanted + _SPARE_DESCRIPTORS
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, wanted + _SPARE_DESCRIPTORS), hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(1, min(wanted, soft - _SPARE_DESCRIPTORS))


def _ready(listener: socket.socket) -> socket.socket:
    listener.setblocking(False)
    listener.listen(_BACKLOG)
    for level, option, value in _INHERITED:
        listener.setsockopt(level, option, value)
    return listener
