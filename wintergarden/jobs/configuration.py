"""Whether the Redis server keeps what it acknowledges: asked by `doctor`."""

from __future__ import annotations

from redis.exceptions import ResponseError

from wintergarden.jobs.connection import Connection

_REQUIRED = {
    "appendonly": ("yes", "jobs are lost when the server restarts"),
    "appendfsync": ("always", "up to a second of jobs is lost when its machine dies"),
    "maxmemory-policy": ("noeviction", "jobs are evicted when its memory is full"),
}


def problems(connection: Connection) -> list[str]:
    """One sentence per setting that can lose a job, with its cure."""
    found = []
    for name, (wanted, otherwise) in _REQUIRED.items():
        with connection.errors():
            try:
                got = connection.client.config_get(name).get(name)
            except ResponseError:  # managed servers forbid CONFIG
                return [f"Redis at {connection.address} does not tell its configuration"]
        if got != wanted:
            found.append(f"{name} is {got!r}: {otherwise}; set it to {wanted!r}")
    return found
