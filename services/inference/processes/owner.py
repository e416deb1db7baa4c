"""Sequences live in one process, their owner; this stands for their scheduler in the others.

The owner is sent what the client sent, so that it chooses the version as it would for a client of
its own: one that holds the sequence, if one does. Knows nothing of states.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Hashable, Sequence
from typing import Any

from services.inference.processes.link import Link
from services.inference.protocol.inference_call import InferenceCall
from services.inference.protocol.metadata import SERVICE
from services.inference.protocol.streaming import FINAL_RESPONSE, StreamedInference
from services.inference.scheduling.scheduler import Array, Request
from services.inference.scheduling.statistics import Failure, Statistics
from services.inference.signature import Signature
from wintergarden.errors import Overloaded
from wintergarden.service.transport import Call
from wintergarden.wire import open_inference_pb2 as pb
from wintergarden.wire import tensors

INFER = f"/{SERVICE}/ModelInfer"
OWNER = 0  # the number of the process

_MAX_WAITING = 1024
_IS_FINAL = pb.ModelInferResponse()
_IS_FINAL.parameters[FINAL_RESPONSE].bool_param = True


class AtOwner:
    """Implements `Scheduler`: requests of one sequence go to the owner one after the other.

    A sequence of a client that changes its connection goes on; one whose owner dies has ended,
    and its next request is told to start anew.
    """

    def __init__(
        self, signature: Signature, owner: Link, statistics: Statistics | None = None
    ) -> None:
        """`statistics`: of the version here, for what never got to the owner."""
        self.statistics = statistics or Statistics()
        self._signature = signature
        self._owner = owner
        self._queues: dict[Hashable, deque[Any]] = {}  # a key for each request under way
        self._lock = threading.Lock()
        self._waiting = 0
        self._is_closed = False

    @property
    def waiting(self) -> int:
        return self._waiting

    @property
    def is_drained(self) -> bool:
        return self._is_closed and not self._queues

    def submit(self, requests: Sequence[Any]) -> None:
        for request in requests:
            # Without a sequence the owner says what is wrong.
            key: Hashable = request if request.sequence is None else request.sequence.id
            with self._lock:
                queue = self._queues.get(key)
                is_full = queue is not None and self._waiting >= _MAX_WAITING
                if queue is None:
                    self._queues[key] = deque()
                elif not is_full:
                    queue.append(request)
                    self._waiting += 1
            if queue is None:
                self._send(key, request)
            elif is_full:
                self.statistics.failed(Failure.REJECTED)
                request.refuse(Overloaded(f"{_MAX_WAITING} requests of sequences wait already"))

    def close(self) -> None:
        self._is_closed = True

    def _send(self, key: Hashable, request: Any) -> None:
        def done(answer: bytes | Exception) -> None:
            try:
                if isinstance(answer, Exception):
                    request.refuse(answer)
                else:
                    self._answer(request, answer)
            except Exception as error:
                request.refuse(error)
            self._send_next(key)

        reply = request.reply if isinstance(request, InferenceCall) else None
        try:
            payload = self._encode(request) if reply is None else reply.payload
        except Exception as error:
            done(error)
            return
        timeout_s = reply.time_remaining_s if isinstance(reply, Call) else None
        cancel = self._owner.start(INFER, payload, timeout_s, done)
        if isinstance(reply, Call):
            reply.on_cancel(cancel)

    def _send_next(self, key: Hashable) -> None:
        with self._lock:
            queue = self._queues[key]
            if not queue:
                del self._queues[key]
                return
            request = queue.popleft()
            self._waiting -= 1
        self._send(key, request)

    def _answer(self, request: Any, answer: bytes) -> None:
        if isinstance(request, StreamedInference):
            # Messages that are joined are merged.
            request.reply.respond(answer + _IS_FINAL.SerializeToString())
        elif isinstance(request, InferenceCall):
            request.reply.respond(answer)
        else:
            request.answer(self._decode(answer))

    def _encode(self, request: Request) -> bytes:
        """Of a request whose client said something else: a step of an ensemble, a traced one."""
        signature = self._signature
        message = pb.ModelInferRequest(model_name=signature.model, model_version=signature.version)
        for spec, feed in zip(signature.inputs, request.feeds, strict=True):
            if feed is not None:
                message.inputs.add(name=spec.name, datatype=spec.datatype, shape=feed.shape)
                message.raw_input_contents.append(tensors.encode(feed))
        parameters = message.parameters
        if request.priority:
            parameters["priority"].uint64_param = request.priority
        if request.timeout_us:
            parameters["timeout"].int64_param = request.timeout_us
        if (sequence := request.sequence) is not None:
            if isinstance(sequence.id, str):
                parameters["sequence_id"].string_param = sequence.id
            else:
                # An unsigned number in a signed field.
                parameters["sequence_id"].int64_param = (sequence.id + 2**63) % 2**64 - 2**63
            parameters["sequence_start"].bool_param = sequence.is_start
            parameters["sequence_end"].bool_param = sequence.is_end
        return bytes(message.SerializeToString())

    def _decode(self, answer: bytes) -> list[Array]:
        response = pb.ModelInferResponse.FromString(answer)
        return [
            tensors.decode(raw, output.datatype, output.shape, output.name, "output")
            for output, raw in zip(response.outputs, response.raw_output_contents, strict=True)
        ]
