"""All the hub's numbers; each bounds something that a stranger could otherwise use up."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class HubSettings:
    """Times in seconds, sizes in bytes."""

    trust_proxy: bool = False
    """Believe X-Forwarded-For; connections are then not counted by address, as all are the proxy's."""

    # One connection.
    max_head: int = 16 * 1024
    """Request line and headers."""
    max_headers: int = 64
    max_body: int = 64 * 1024
    head_patience: float = 10.0
    """From the first byte of a head to its last."""
    body_patience: float = 20.0
    idle_patience: float = 75.0
    """Between two requests. Proxies keep idle connections for 60."""
    write_patience: float = 20.0
    """For a client that does not read its answer."""
    held_patience: float = 60.0
    """No handler is held longer than this, whatever it wants."""

    # All connections.
    max_connections: int = 12_000
    max_connections_each: int = 256
    """For one address; an IPv6 network of /64 counts as one."""
    max_subscribers_each: int = 256
    rate: float = 200.0
    """Requests a second and address, in the long run; 0: as many as come."""
    burst: float = 1000.0

    max_unfinished: int = 64 * 1024 * 1024
    """Bytes of requests that are not whole yet, of all connections together."""
    max_unfinished_each: int = 4 * 1024 * 1024

    # Channels.
    max_name: int = 512
    """Characters of app and channel, as sent."""
    max_names: int = 32
    """Channels in one subscription."""
    heartbeat: float = 25.0
    """Between two lines that say a quiet stream lives. Proxies cut at 60."""
    max_backlog: int = 256 * 1024
    """What waits for one slow reader before it is dropped."""
    max_backlogs: int = 64 * 1024 * 1024
    """The same for all together; whoever is furthest behind is dropped for more."""
    kept_events: int = 64
    """Of each channel, for those who resume."""
    kept_bytes: int = 256 * 1024
    kept_seconds: float = 300.0
    """After its last event, a channel's are dropped."""
    kept_in_all: int = 32 * 1024 * 1024
    kept_channels: int = 10_000

    # Meetings. The limits are for each client, and for meetings only.
    meet_hold: float = 15.0
    """A request is held so long, until somebody comes."""
    meet_request_every: float = 1.0
    """One request in so many seconds, in the long run; 0: as many as come."""
    meet_connect_every: float = 5.0
    """The same for a CONNECT that begins anew."""
    meet_pair_memory: float = 3600.0
    """Two that were brought together are not brought together again for so long; 0: at once."""
    meet_sweep: float = 30.0
    """Between two looks at what may be forgotten."""
    meet_answer: float = 5.0
    """Who was handed an offer has so long to answer it, before somebody else is handed it too."""
    meet_waiting: int = 256
    """Requests in one namespace at once."""
    meet_signal: int = 8 * 1024
    """Characters of a signal."""

    grace: float = 5.0
    """To answer what was asked, once told to stop."""
