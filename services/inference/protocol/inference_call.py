"""One ModelInfer request on its way through a scheduler; knows how its caller is answered."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Protocol

from services.inference.protocol.asked import Asked
from services.inference.repository.repository import Model
from services.inference.scheduling.scheduler import Array, SequenceControl
from wintergarden.errors import Cancelled, DeadlineExceeded


class Reply(Protocol):
    """The caller's end: a unary call, or one request's share of a stream."""

    @property
    def is_gone(self) -> bool: ...
    @property
    def is_cancelled(self) -> bool: ...
    @property
    def payload(self) -> bytes: ...
    def respond(self, payload: bytes) -> None: ...
    def fail(self, error: BaseException) -> None: ...


class InferenceCall:
    """A `scheduling.Request` whose answer is a ModelInferResponse."""

    __slots__ = (
        "_asked", "_reply",
        "arrived_ns", "feeds", "form", "id", "model", "priority", "rows", "sequence", "timeout_us",
    )  # fmt: skip

    def __init__(  # noqa: PLR0917  keywords cost time, once per call
        self,
        reply: Reply,
        request_id: str,
        model: Model,
        asked: Asked,
        feeds: Sequence[Array | None],
        rows: int,
        form: Hashable,
        arrived_ns: int,
    ) -> None:
        """What is asked of `model`, with these feeds in place of those of `asked`."""
        self.model = model
        self.arrived_ns = arrived_ns
        self.feeds = feeds
        self.rows = rows
        self.form = form
        self.priority: int = asked.priority
        self.timeout_us: int = asked.timeout_us
        self.sequence: SequenceControl | None = asked.sequence
        self.id = request_id
        self._asked = asked
        self._reply = reply

    @property
    def reply(self) -> Reply:
        """The caller's end, for those who have the answer from elsewhere."""
        return self._reply

    @property
    def version(self) -> str:
        """What was asked for, which may be a label, or nothing."""
        return self._asked.version

    @property
    def is_abandoned(self) -> bool:
        return self._reply.is_cancelled

    def answer(self, outputs: Sequence[Array], *, is_final: bool = True) -> None:
        written = self.model.responses.write(self.id, self._asked, outputs, caller=self._reply)
        self._reply.respond(written)

    def refuse(self, error: Exception) -> None:
        if isinstance(error, Cancelled) and not self._reply.is_gone:
            error = DeadlineExceeded("the deadline passed while the request waited for its turn")
        self._reply.fail(error)
