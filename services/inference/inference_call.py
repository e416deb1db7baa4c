"""One ModelInfer request on its way through a scheduler; knows how its caller is answered."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Protocol

from services.inference import codec
from services.inference.repository import Model
from services.inference.scheduling import Array, SequenceControl
from services.inference.shared_memory import Regions
from wintergarden.errors import Cancelled, DeadlineExceeded
from wintergarden.wire import open_inference_pb2 as pb


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

    def __init__(
        self,
        reply: Reply,
        request: pb.ModelInferRequest,
        model: Model,
        arrived_ns: int,
        regions: Regions | None,
    ) -> None:
        """Reads the request as one for `model`.

        Raises:
            InvalidArgument: it does not fit the model.
            Unsupported: it asks for an extension that is not served.
        """
        signature = model.signature
        asked = codec.read(request, signature, regions)
        self.model = model
        self.arrived_ns = arrived_ns
        self.feeds: Sequence[Array | None] = asked.feeds
        self.rows: int = signature.rows(asked.feeds)
        self.form: Hashable = signature.form(asked.feeds)
        self.priority: int = asked.priority
        self.timeout_us: int = asked.timeout_us
        self.sequence: SequenceControl | None = asked.sequence
        self._asked = asked
        self.id: str = request.id
        self._reply = reply

    @property
    def reply(self) -> Reply:
        """The caller's end, for those who have the answer from elsewhere."""
        return self._reply

    @property
    def is_abandoned(self) -> bool:
        return self._reply.is_cancelled

    def answer(self, outputs: Sequence[Array], *, is_final: bool = True) -> None:
        self._reply.respond(self.model.responses.write(self.id, self._asked, outputs))

    def refuse(self, error: Exception) -> None:
        if isinstance(error, Cancelled) and not self._reply.is_gone:
            error = DeadlineExceeded("the deadline passed while the request waited for its turn")
        self._reply.fail(error)
