"""How many connections one address, and all together, may have; what counts as one address."""

import ipaddress
from collections import Counter
from functools import lru_cache


@lru_cache(maxsize=4096)
def plain_address(said: str) -> str | None:
    """An IP address in one form, or None if it is none. ::ffff:192.0.2.1 is 192.0.2.1."""
    try:
        address = ipaddress.ip_address(said.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(address)


@lru_cache(maxsize=4096)
def counted_as(address: str) -> str:
    """Whoever has an IPv6 address has 2**64 of them: the network of /64 counts as one."""
    if ":" not in address:
        return address
    return str(ipaddress.ip_network(f"{address}/64", strict=False))


def forwarded_for(header: str) -> str | None:
    """The last address in X-Forwarded-For: the one that our own proxy put there; earlier ones are claims."""
    return plain_address(header.rpartition(",")[2].strip()[:64])


class Budget:
    """Bytes that wait in memory, of one address and of everybody together."""

    def __init__(self, most: int, *, most_each: int) -> None:
        self._most = most
        self._most_each = most_each
        self._used: Counter[str] = Counter()
        self.used = 0

    def take(self, size: int, *, who: str) -> bool:
        """So many more, if that is allowed; a negative number gives back, which always is."""
        if size > 0 and (self.used + size > self._most or self._used[who] + size > self._most_each):
            return False
        self.used += size
        self._used[who] += size
        if not self._used[who]:
            del self._used[who]
        return True


class Tally:
    """How many of something each address has."""

    def __init__(self, *, most_each: int) -> None:
        self._most = most_each
        self._count: Counter[str] = Counter()
        self.total = 0

    def enter(self, who: str) -> bool:
        """One more, if that is allowed."""
        if self._count[who] >= self._most:
            return False
        self._count[who] += 1
        self.total += 1
        return True

    def leave(self, who: str) -> None:
        self._count[who] -= 1
        self.total -= 1
        if self._count[who] <= 0:
            del self._count[who]
