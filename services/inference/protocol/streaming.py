"""ModelStreamInfer: many requests of one client under way at once, answered as they are ready.

A request that goes wrong is answered in the stream, under its id, and the others go on; a client
that sends the header `triton_grpc_error: true` has the stream end with the error's status
instead. A decoupled model answers one request with a response for every row of its outputs.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from time import perf_counter_ns
from typing import Any

from services.inference.protocol.inference_call import InferenceCall
from services.inference.protocol.responses import in_stream
from services.inference.scheduling.scheduler import Array
from services.inference.scheduling.statistics import Outcome
from wintergarden.errors import Cancelled, DeadlineExceeded, Overloaded
from wintergarden.service.errors import StatusError, status_of
from wintergarden.service.transport import BidirectionalCall
from wintergarden.wire import open_inference_pb2 as pb

_ERRORS_AS_STATUS = ("triton_grpc_error", "true")
FINAL_RESPONSE = "triton_final_response"
_UNREAD = "the client has not read what the stream was sent so far; read it, or ask for less"


class Stream:
    """One client's stream, from its first message to the answer to its last."""

    def __init__(self, call: BidirectionalCall, infer: Callable[[StreamedRequest], None]) -> None:
        """`infer` takes a request on; it answers it or has it answered, and raises nothing."""
        self._call = call
        self._infer = infer
        self._errors_end_it = _ERRORS_AS_STATUS in call.metadata
        self._changed = threading.Condition()
        self._open = 0  # requests without their last answer
        self._has_failed = False

    def run(self) -> None:
        """Read until the client has said all, then wait until it has been told all."""
        self._call.on_cancel(self._wake)
        for payload in self._call.messages():
            if self._has_failed:
                return
            with self._changed:
                self._open += 1
            self._infer(StreamedRequest(self, payload))
        with self._changed:
            while self._open and not self._call.is_gone and not self._has_failed:
                self._changed.wait()
            # What was open may have been given up for the deadline's sake before this looks.
            is_cut_off = self._open > 0 or self._call.is_cancelled
        if self._has_failed:
            return
        if is_cut_off:  # who still listens must not take what there is for all
            self._call.fail(DeadlineExceeded("the deadline passed before the last answer"))
        else:
            self._call.end()

    @property
    def method(self) -> str:
        return self._call.method

    @property
    def is_gone(self) -> bool:
        return self._call.is_gone or self._has_failed

    @property
    def is_cancelled(self) -> bool:
        return self._call.is_cancelled or self._has_failed

    @property
    def is_clogged(self) -> bool:
        return self._call.is_clogged

    def send(self, response: bytes, *, is_final: bool) -> None:
        """A serialised ModelInferResponse."""
        self._call.send(in_stream(response))
        if is_final:
            self.settle()

    def fail(self, error: BaseException, request_id: str) -> None:
        status = status_of(error, self.method)
        if self._errors_end_it:
            self._has_failed = True
            self._call.fail(StatusError(status))
            self._wake()
            return
        told = pb.ModelStreamInferResponse(error_message=status.message)
        told.infer_response.id = request_id
        self._call.send(told.SerializeToString())
        self.settle()

    def settle(self) -> None:
        """A request has had its last answer."""
        with self._changed:
            self._open -= 1
            if not self._open:
                self._changed.notify_all()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()


class StreamedRequest:
    """One request of a stream, and the caller's end of it (`inference_call.Reply`)."""

    __slots__ = ("_is_answered", "_stream", "id", "payload")

    def __init__(self, stream: Stream, payload: bytes) -> None:
        self._stream = stream
        self._is_answered = False
        self.payload = payload
        self.id = ""

    @property
    def method(self) -> str:
        return self._stream.method

    @property
    def is_gone(self) -> bool:
        return self._stream.is_gone

    @property
    def is_cancelled(self) -> bool:
        return self._stream.is_cancelled

    @property
    def is_answered(self) -> bool:
        return self._is_answered

    @property
    def is_clogged(self) -> bool:
        """The client reads less than it is sent."""
        return self._stream.is_clogged

    def respond(self, payload: bytes, *, is_final: bool = True) -> None:
        if not self._is_answered:
            self._is_answered = is_final
            self._stream.send(payload, is_final=is_final)

    def fail(self, error: BaseException) -> None:
        if not self._is_answered:
            self._is_answered = True
            self._stream.fail(error, self.id)

    def finish(self) -> None:
        """There is no further answer."""
        if not self._is_answered:
            self._is_answered = True
            self._stream.settle()


class StreamedInference(InferenceCall):
    """A request whose answer may be several."""

    __slots__ = ("_responses", "_since_ns")
    _reply: StreamedRequest

    def __init__(self, *arguments: Any) -> None:
        """As an `InferenceCall`."""
        super().__init__(*arguments)
        self._responses = 0  # of a decoupled model, so far
        self._since_ns = self.arrived_ns  # when the last of them was there

    @property
    def is_abandoned(self) -> bool:
        return self._reply.is_cancelled or self._reply.is_answered

    def answer(self, outputs: Sequence[Array], *, is_final: bool = True) -> None:
        if not self.model.is_decoupled:
            # A text that is told token by token is given up where nobody reads it.
            if not is_final and self._reply.is_clogged:
                self._reply.fail(Overloaded(_UNREAD))
                return
            self._send(outputs, is_final=is_final)
            return
        # Sending never waits: a run is shared, and a slow reader must not hold up the others. What
        # lies unread is no more than the run has made, and bounds what is read of the stream.
        for row in range(len(outputs[0]) if outputs else 0):
            there_ns = perf_counter_ns()
            written = self._write([output[row : row + 1] for output in outputs], is_final=False)
            self._count(Outcome.SUCCESS, there_ns)
            self._reply.respond(written, is_final=False)
        if is_final:
            self._count(Outcome.EMPTY, perf_counter_ns())
            self._send_end()

    def refuse(self, error: Exception) -> None:
        if self.model.is_decoupled and not self._reply.is_answered:
            has_gone = isinstance(error, Cancelled)
            self._count(Outcome.CANCEL if has_gone else Outcome.FAIL, perf_counter_ns())
        super().refuse(error)

    def _count(self, outcome: Outcome, there_ns: int) -> None:
        """One answer of several, before it leaves."""
        self.model.scheduler.statistics.responded(
            self._responses,
            outcome,
            infer_ns=there_ns - self._since_ns,
            output_ns=perf_counter_ns() - there_ns,
        )
        self._responses += 1
        self._since_ns = there_ns

    def _send(self, outputs: Sequence[Array], *, is_final: bool) -> None:
        self._reply.respond(self._write(outputs, is_final=is_final), is_final=is_final)

    def _write(self, outputs: Sequence[Array], *, is_final: bool) -> bytes:
        parameters = {FINAL_RESPONSE: is_final}
        return self.model.responses.write(
            self.id, self._asked, outputs, parameters=parameters, caller=self._reply
        )

    def _send_end(self) -> None:
        """The end of a decoupled answer: a message of its own for those who asked for it."""
        if self._asked.wants_empty_final:
            self._send([], is_final=True)
        else:
            self._reply.finish()
