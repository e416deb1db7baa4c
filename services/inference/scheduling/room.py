"""Shares the server's room for waiting requests among its models.

The transport's books bound what all requests take together. Whoever fills them shuts out
everybody, so each model is held to what is left: with one model under a flood that is half of
the room, with two a third each, and always one more such share is free. This is the dynamic
threshold of switches that share their memory among ports (Choudhury and Hahne, "Dynamic queue
length thresholds for shared-memory packet switches", IEEE/ACM ToN 6(2), 1998).
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Sized
from time import perf_counter_ns
from typing import Protocol

FULL_NS = 10_000_000
"""For so long a queue that was found full is taken for full, until it is searched again for
requests that nobody waits for any more."""

# Below this part of the room nobody is in the way of others, and nothing is counted.
_MODEST = 8


class Tenant(Sized, Protocol):
    """A queue.

    Attributes:
        bytes_waiting: of the tensors of its requests.
    """

    @property
    def bytes_waiting(self) -> int: ...


class Room:
    """How many requests, of how many bytes, may wait in all queues together."""

    def __init__(self, max_requests: int = 2_048, max_bytes: int = 256 * 2**20) -> None:
        """The transport's bounds, or less."""
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        self._tenants: tuple[weakref.ref[Tenant], ...] = ()
        self._changing = threading.Lock()
        self._full_ns = -FULL_NS

    @property
    def has_full_queue(self) -> bool:
        """One was found full a moment ago; of all others nobody need ask."""
        return perf_counter_ns() - self._full_ns < FULL_NS

    def found_full(self, now_ns: int) -> None:
        """A queue is full now, by the clock of `perf_counter_ns`."""
        self._full_ns = now_ns

    def enter(self, tenant: Tenant) -> None:
        """Count a queue for as long as it exists."""
        with self._changing:
            alive = (ref for ref in self._tenants if ref() is not None)
            self._tenants = (*alive, weakref.ref(tenant))

    def requests_for(self, tenant: Tenant, wanted: int) -> int:
        """How many more requests, of those it wants to add, a queue may hold."""
        if len(tenant) + wanted <= self._max_requests // _MODEST:
            return wanted
        left = self._max_requests - sum(len(each) for each in self._alive())
        return _share(left, len(tenant))

    def bytes_for(self, tenant: Tenant, wanted: int) -> int:
        """How many more bytes a queue may hold."""
        if tenant.bytes_waiting + wanted <= self._max_bytes // _MODEST:
            return wanted
        left = self._max_bytes - sum(each.bytes_waiting for each in self._alive())
        return _share(left, tenant.bytes_waiting)

    def _alive(self) -> list[Tenant]:
        return [tenant for ref in self._tenants if (tenant := ref()) is not None]


def _share(left: int, held: int) -> int:
    """What may be added so that no more is held afterwards than is left then."""
    return max(0, (left - held) // 2)
