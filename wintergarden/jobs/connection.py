"""The connection to Redis: patient, typed in its errors, and running the scripts.

A call whose answer is lost with the connection is repeated, so every script is written to be
repeated without harm.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from typing import Any
from urllib.parse import urlsplit

import redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import (
    BusyLoadingError,
    ConnectionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
    TimeoutError,
)
from redis.retry import Retry

from wintergarden.errors import InvalidArgument, Overloaded, Unavailable

BLOCK_S = 2.0
"""The longest a blocking read may block."""

_SOCKET_TIMEOUT_S = BLOCK_S + 3.0
_TRANSIENT = (ConnectionError, TimeoutError, BusyLoadingError)
_SCRIPTS = files("wintergarden.jobs") / "scripts"


class Connection:
    """A thread-safe pool of connections to one server.

    Args:
        redis_url: `redis://[:password@]host:port/database`, `rediss://…` or `unix:///path`.

    Raises:
        InvalidArgument: the URL is not one of Redis.
    """

    def __init__(self, redis_url: str) -> None:
        self.url = redis_url
        try:
            # Any: redis-py types each answer as all that any protocol and encoding could make it.
            self.client: Any = redis.Redis.from_url(
                redis_url,
                decode_responses=True,
                socket_timeout=_SOCKET_TIMEOUT_S,
                socket_connect_timeout=2.0,
                health_check_interval=15,
                # About a second: a restart is ridden out by those who wait, not by every call.
                retry=Retry(ExponentialBackoff(cap=0.4, base=0.05), 4, supported_errors=_TRANSIENT),
            )
        except ValueError as exc:
            raise InvalidArgument(f"redis_url {self.address!r}: {exc}", field="redis_url") from exc
        prelude = (_SCRIPTS / "record.lua").read_text()
        self._scripts = {
            entry.name.removesuffix(".lua"): self.client.register_script(
                f"{prelude}\n{entry.read_text()}"
            )
            for entry in _SCRIPTS.iterdir()
            if entry.name.endswith(".lua") and entry.name != "record.lua"
        }

    @property
    def address(self) -> str:
        """The server's address, without the password."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    def run(self, script: str, *arguments: str | int | float) -> Any:
        """Run `scripts/<script>.lua`, all of it or nothing.

        Raises:
            Unavailable: Redis does not answer.
        """
        with self.errors():
            return self._scripts[script](args=list(arguments))

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Redis's errors in our words."""
        try:
            yield
        except OutOfMemoryError as exc:
            raise Overloaded(f"Redis at {self.address} is out of memory", retry_after_s=5) from exc
        except (*_TRANSIENT, ReadOnlyError) as exc:
            raise Unavailable(f"Redis at {self.address} does not answer: {exc}") from exc
        except ResponseError as exc:
            if str(exc).startswith(("MISCONF", "NOREPLICAS", "MASTERDOWN", "CLUSTERDOWN")):
                raise Unavailable(f"Redis at {self.address} refuses to write: {exc}") from exc
            raise

    def close(self) -> None:
        with self.errors():
            self.client.close()
