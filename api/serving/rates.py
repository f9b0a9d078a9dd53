"""How many requests a client may send in a minute: counted exactly, over the minute before each request."""

from __future__ import annotations

import ipaddress
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

WINDOW_S = 60
MAX_CLIENTS = 10_000  # remembered at once; beyond that those are forgotten that have been silent longest


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is left to a client after a request, and after how many seconds one more will be."""

    limit: int
    left: int
    reset_s: int
    is_exceeded: bool

    def headers(self) -> dict[str, str]:
        """As the IETF's draft of RateLimit headers has them, with Retry-After (RFC 9110) where nothing is left."""
        told = {
            "RateLimit-Policy": f'"minute";q={self.limit};w={WINDOW_S}',
            "RateLimit": f'"minute";r={self.left};t={self.reset_s}',
        }
        return {**told, "Retry-After": str(self.reset_s)} if self.is_exceeded else told


class Rates:
    """Moving windows, one for each client. For one thread, such as the event loop's."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        """`clock` gives seconds."""
        self._clock = clock
        self._sent: dict[str, deque[float]] = {}  # those silent longest first

    def take(self, client: str, limit: int) -> Allowance:
        """Count a request of `client`, unless it has sent `limit` of them within the last minute already."""
        now = self._clock()
        sent = self._sent.pop(client, None) or deque()
        self._sent[client] = sent
        while sent and sent[0] <= now - WINDOW_S:
            sent.popleft()
        is_exceeded = len(sent) >= limit
        if not is_exceeded:
            sent.append(now)
        if len(self._sent) > MAX_CLIENTS:
            del self._sent[next(iter(self._sent))]
        # Where the limit was lowered meanwhile, more than one has to grow old before another may come.
        oldest = sent[max(0, len(sent) - limit)]
        return Allowance(limit, max(0, limit - len(sent)), math.ceil(oldest + WINDOW_S - now), is_exceeded)


def address_of(host: str) -> str:
    """What stands for the client at an address: itself, or its network of 64 bits in IPv6, which one client owns."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address) and not address.ipv4_mapped:
        return str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))
    return str(address)
