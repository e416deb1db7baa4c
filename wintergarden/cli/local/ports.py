"""Which ports the services get."""

from __future__ import annotations

import random
import socket
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from wintergarden.errors import FailedPrecondition, InvalidArgument

HOST = "127.0.0.1"
DEFAULT_PORT = 8500
METRICS_OFFSET = 1000
_SERVICES = ("gateway", "inference", "explanation")
_WITH_METRICS = (*_SERVICES, "trainer", "explanation-worker")


@dataclass(frozen=True)
class Ports:
    """`serving` and `metrics` by service; each on the loopback interface only."""

    serving: dict[str, int]
    metrics: dict[str, int]

    @property
    def all(self) -> dict[str, int]:
        """By what listens there."""
        return self.serving | {f"{name}'s metrics": port for name, port in self.metrics.items()}

    def address(self, service: str) -> str:
        return f"{HOST}:{self.serving[service]}"

    def metrics_address(self, service: str) -> str:
        return f"{HOST}:{self.metrics[service]}"


def ports_from(first: int = DEFAULT_PORT) -> Ports:
    """The gateway at `first`, the others after it, their metrics a thousand higher."""
    return Ports(
        serving={name: first + i for i, name in enumerate(_SERVICES)},
        metrics={name: first + METRICS_OFFSET + i for i, name in enumerate(_WITH_METRICS)},
    )


def fixed_ports(first: int = DEFAULT_PORT) -> Ports:
    """Those of `ports_from`, which nobody uses now.

    Raises:
        InvalidArgument: no room for them above `first`.
        FailedPrecondition: one is in use; the message says which and what to do.
    """
    last = 65535 - METRICS_OFFSET - len(_WITH_METRICS)
    if not 1 <= first <= last:
        raise InvalidArgument(f"--port {first}: the first port must be from 1 to {last}, or 0")
    ports = ports_from(first)
    for name, port in ports.all.items():
        if not is_free(port):
            raise FailedPrecondition(
                f"port {port} ({name}) is in use; choose others with --port N, or --port 0 for "
                "free ones"
            )
    return ports


def free_ports() -> Ports:
    """Ports nobody uses now."""
    found = find_free(len(_SERVICES) + len(_WITH_METRICS))
    return Ports(
        serving=dict(zip(_SERVICES, found[: len(_SERVICES)], strict=True)),
        metrics=dict(zip(_WITH_METRICS, found[len(_SERVICES) :], strict=True)),
    )


def find_free(count: int, taken: Collection[int] = ()) -> list[int]:
    """Free ports, none of those taken, below those the kernel gives to outgoing connections.

    A server that is restarted must find its port again. From the kernel's own range, any
    client's connection could take it meanwhile; even one to itself, by the server's own clients
    that try to reconnect (TCP's simultaneous open).
    """
    first, last = 10_000, _first_ephemeral() - 1
    candidates: Sequence[int] = range(first, last) if last - first > count else range(10_000, 65535)
    found: list[int] = []
    # Our own source of randomness: two runs with one seed must not meet on one port.
    for port in random.SystemRandom().sample(candidates, len(candidates)):
        if port not in taken and is_free(port):
            found.append(port)
            if len(found) == count:
                return found
    raise FailedPrecondition(f"no {count} free ports from {candidates[0]} to {candidates[-1]}")


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As servers do: a closed connection's TIME_WAIT does not occupy the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def _first_ephemeral() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 32_768  # Linux's default; macOS begins at 49 152
