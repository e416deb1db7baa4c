"""What the SDK says to a server, without a transport.

An operation of the SDK is a *flow*: a generator that yields calls, is sent their responses (or
thrown their errors) and returns its result. The files that hold the flows build the requests and
parse the answers; `blocking` and `asynchronous` only carry the calls. So each operation exists
once.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from google.protobuf.message import Message

from wintergarden.wire.pool import Method

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Call:
    """One unary call.

    `is_repeatable`: doing it twice does no harm, so it is repeated when the server is
    unavailable. `is_memorable`: the answer holds for as long as the model does, so it is
    asked for once.
    """

    method: Method
    request: Message
    timeout_s: float = 30.0
    is_repeatable: bool = True
    is_memorable: bool = False

    @property
    def key(self) -> tuple[str, bytes]:
        return self.method.path, self.request.SerializeToString(deterministic=True)


@dataclass(frozen=True)
class Pause:
    """Nothing to do for a while."""

    seconds: float


# What is sent back is the response message of the call yielded last; nothing after a pause.
Flow: TypeAlias = Generator[Call | Pause, Any, T]
