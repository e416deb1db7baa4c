"""A client for the address the person gave."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from wintergarden.client import Client, connect
from wintergarden.client.channel import DEFAULT_ADDRESS
from wintergarden.errors import InvalidArgument, Unavailable

Address = Annotated[
    str,
    typer.Option(
        "--address",
        "-a",
        envvar="WINTERGARDEN_ADDRESS",
        metavar="HOST:PORT",
        help="Where the gateway listens.",
    ),
]
HERE = DEFAULT_ADDRESS

_RETRY_FOR_S = 2.0  # a person waits
_TOO_LARGE = "Value out of range: "  # protobuf's words


@contextmanager
def session(address: str) -> Iterator[Client]:
    """A connected client; a missing server is told with its cure."""
    with connect(address, retry_for_s=_RETRY_FOR_S) as client:
        try:
            yield client
        except Unavailable as exc:
            if "failed to connect" not in exc.message:
                raise
            raise Unavailable(
                f"nothing answers at {address}; start the system with `wintergarden up`, or say "
                "where it is with --address or WINTERGARDEN_ADDRESS"
            ) from exc
        except ValueError as exc:
            if not str(exc).startswith(_TOO_LARGE):
                raise
            raise InvalidArgument(str(exc)) from exc
