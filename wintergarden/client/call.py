"""What the SDK says to a server, without a transport.

An operation of the SDK is a *flow*: a generator that yields calls, is sent their responses (or
thrown their errors) and returns its result. The files that hold the flows build the requests and
parse the answers; `blocking` and `asynchronous` only carry the calls. So each operation exists
once.
"""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import Any, ParamSpec, TypeAlias, TypeVar

from google.protobuf.message import Message

from wintergarden.errors import WintergardenError
from wintergarden.wire.pool import Method

P = ParamSpec("P")
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


@dataclass(frozen=True)
class Work:
    """Something to do here that takes long, such as reading a file; its result is sent back."""

    do: Callable[[], Any]


# What is sent back is the response message of the call yielded last; nothing after a pause.
Flow: TypeAlias = Generator[Call | Pause | Work, Any, T]


def bounded(flow: Callable[P, Flow[T]]) -> Callable[P, Flow[T]]:
    """A flow whose `timeout_s` is for all of its calls together, and not for the last alone."""
    default = inspect.signature(flow).parameters["timeout_s"].default

    @functools.wraps(flow)
    def within(*args: P.args, **kwargs: P.kwargs) -> Flow[T]:
        timeout_s: Any = kwargs.get("timeout_s", default)
        give_up_at = time.monotonic() + timeout_s
        steps = flow(*args, **kwargs)
        answer: Any = None
        try:
            while True:
                step = steps.throw(answer) if isinstance(answer, Exception) else steps.send(answer)
                if isinstance(step, Call):
                    left_s = give_up_at - time.monotonic()
                    step = replace(step, timeout_s=min(step.timeout_s, left_s))
                try:
                    answer = yield step
                except WintergardenError as error:
                    answer = error
        except StopIteration as stop:
            result: T = stop.value
            return result
        finally:
            steps.close()

    return within
