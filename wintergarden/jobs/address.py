"""Where Redis is: one server, or the master that sentinels name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import parse_qs, quote, unquote, urlsplit

from wintergarden.errors import InvalidArgument

SENTINEL_PORT = 26379
_SERVER_SCHEMES = ("redis", "rediss", "unix")
_SENTINEL_SCHEMES = {"redis+sentinel": False, "rediss+sentinel": True}
FORMS = (
    "redis://[:password@]host:port/database, rediss://… (TLS), unix:///path or "
    "redis+sentinel://[:password@]host:port,host:port,…/service/database[?replicas=N]"
)


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """Of the server that holds the jobs.

    Attributes:
        url: of one server, as redis-py takes it; empty with sentinels.
        sentinels: host and port of each.
        service: the master's name among them.
        database: its number.
        username: for the master.
        password: for the master.
        tls: to the master.
        replicas: that must have a write before it is acknowledged; 0 asks none.
    """

    url: str = ""
    sentinels: tuple[tuple[str, int], ...] = ()
    service: str = ""
    database: int = 0
    username: str = ""
    password: str = ""
    tls: bool = False
    replicas: int = 0

    @classmethod
    def parse(cls, url: str) -> Self:
        """Reads an address.

        Raises:
            InvalidArgument: saying which forms there are; passwords are not repeated.
        """
        parts = urlsplit(url)
        if parts.scheme in _SERVER_SCHEMES:
            return cls(url=url)
        if parts.scheme not in _SENTINEL_SCHEMES:
            raise InvalidArgument(
                f"redis_url {without_password(url)!r}: expected {FORMS}", field="redis_url"
            )
        credentials, _, hosts = parts.netloc.rpartition("@")
        username, _, password = credentials.partition(":")
        service, _, database = parts.path.strip("/").partition("/")
        try:
            if not service:
                raise ValueError("the service's name is missing")
            return cls(
                sentinels=tuple(_host_and_port(host) for host in hosts.split(",")),
                service=service,
                database=int(database or 0),
                username=unquote(username),
                password=unquote(password),
                tls=_SENTINEL_SCHEMES[parts.scheme],
                replicas=int(parse_qs(parts.query).get("replicas", ["0"])[0]),
            )
        except ValueError as error:
            raise InvalidArgument(
                f"redis_url {without_password(url)!r}: {error}; expected {FORMS}",
                field="redis_url",
            ) from error

    @property
    def broker_url(self) -> str:
        """The same for Celery."""
        if not self.sentinels:
            return self.url
        credentials = ""
        if self.password:
            credentials = f"{quote(self.username)}:{quote(self.password)}@"
        return ";".join(
            f"sentinel://{credentials}{host}:{port}/{self.database}"
            for host, port in self.sentinels
        )

    @property
    def broker_options(self) -> dict[str, Any]:
        """What Celery's transport must know beside its URL."""
        if not self.sentinels:
            return {}
        return {"master_name": self.service, **({"ssl": True} if self.tls else {})}


def without_password(url: str) -> str:
    """The address for messages."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _host_and_port(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":") if ":" in text else (text, "", str(SENTINEL_PORT))
    if not host:
        raise ValueError(f"{text!r} names no host")
    return host.strip("[]"), int(port)
