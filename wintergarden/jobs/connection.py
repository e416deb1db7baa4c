"""The connection to Redis: patient, typed in its errors, and running the scripts.

A call whose answer is lost with the connection is repeated, so every script is written to be
repeated without harm.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from typing import Any

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
from redis.sentinel import MasterNotFoundError, Sentinel

from wintergarden.errors import InvalidArgument, Overloaded, Unavailable
from wintergarden.jobs.address import RedisAddress, without_password

BLOCK_S = 2.0
"""The longest a blocking read may block."""

_SOCKET_TIMEOUT_S = BLOCK_S + 3.0
_TRANSIENT = (ConnectionError, TimeoutError, BusyLoadingError)
_REPLICATION_MS = 1_000
# Writes that somebody relies on as soon as they are answered.
_RELIED_ON = frozenset({"submit", "claim", "finish", "offer", "checkpoint", "request"})
_SCRIPTS = files("wintergarden.jobs") / "scripts"


class Connection:
    """A thread-safe pool of connections to one server, or to whichever is the master now.

    Args:
        redis_url: see `address.FORMS`.

    Raises:
        InvalidArgument: the URL is none of those.
    """

    def __init__(self, redis_url: str) -> None:
        self.url = redis_url
        self._target = RedisAddress.parse(redis_url)
        try:
            # Any: redis-py types each answer as all that any protocol and encoding could make it.
            self.client: Any = _open(self._target)
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
        """Where the server is, without the password."""
        return without_password(self.url)

    def run(self, script: str, *arguments: str | int | float) -> Any:
        """Run `scripts/<script>.lua`, all of it or nothing.

        Raises:
            Unavailable: Redis does not answer, or too few replicas do. It may have been run:
                scripts may be repeated.
        """
        with self.errors():
            if not self._target.replicas or script not in _RELIED_ON:
                return self._scripts[script](args=list(arguments))
            with self.client.pipeline(transaction=False) as pipeline:
                self._scripts[script](args=list(arguments), client=pipeline)
                pipeline.wait(self._target.replicas, _REPLICATION_MS)
                answer, replicas = pipeline.execute()
        self._require(replicas)
        return answer

    def require_replicas(self) -> None:
        """Refuses before anything is written where too few replicas would get it.

        Raises:
            Unavailable: Redis does not answer, or too few replicas do.
        """
        if self._target.replicas:
            with self.errors():
                replicas = self.client.wait(self._target.replicas, _REPLICATION_MS)
            self._require(replicas)

    def _require(self, replicas: int) -> None:
        """Of those that have all that this connection has written."""
        if replicas < self._target.replicas:
            raise Unavailable(
                f"{replicas} of {self._target.replicas} replicas of Redis at {self.address} have "
                f"the last write after {_REPLICATION_MS} ms"
            )

    def now_ms(self) -> int:
        """Milliseconds of the server's clock, which all times in it are of."""
        with self.errors():
            seconds, microseconds = self.client.time()
        return int(seconds * 1000 + microseconds // 1000)

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Redis's errors in our words."""
        try:
            yield
        except OutOfMemoryError as exc:
            raise Overloaded(f"Redis at {self.address} is out of memory", retry_after_s=5) from exc
        except (*_TRANSIENT, ReadOnlyError, MasterNotFoundError) as exc:
            raise Unavailable(f"Redis at {self.address} does not answer: {exc}") from exc
        except ResponseError as exc:
            if str(exc).startswith(("MISCONF", "NOREPLICAS", "MASTERDOWN", "CLUSTERDOWN")):
                raise Unavailable(f"Redis at {self.address} refuses to write: {exc}") from exc
            raise

    def close(self) -> None:
        with self.errors():
            self.client.close()


def _open(target: RedisAddress) -> redis.Redis:
    options: dict[str, Any] = {
        "decode_responses": True,
        "socket_timeout": _SOCKET_TIMEOUT_S,
        "socket_connect_timeout": 2.0,
        "health_check_interval": 15,
        # About a second: a restart is ridden out by those who wait, not by every call.
        "retry": Retry(ExponentialBackoff(cap=0.4, base=0.05), 4, supported_errors=_TRANSIENT),
    }
    if not target.sentinels:
        return redis.Redis.from_url(target.url, **options)
    untyped: Any = Sentinel
    sentinel = untyped(
        list(target.sentinels), sentinel_kwargs={"socket_timeout": 1.0, "decode_responses": True}
    )
    client: redis.Redis = sentinel.master_for(
        target.service,
        db=target.database,
        username=target.username or None,
        password=target.password or None,
        ssl=target.tls,
        **options,
    )
    return client
