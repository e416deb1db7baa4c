"""The trace of one request: when it passed what, and if wanted with which tensors.

Triton's JSON, so that its summary tool reads it:
https://github.com/triton-inference-server/server/blob/main/docs/user_guide/trace.md
"""

from __future__ import annotations

import json
from collections.abc import Callable, Hashable, Sequence
from itertools import count
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from services.inference.scheduling.scheduler import Array, Request, SequenceControl
from services.inference.tracing.settings import TENSORS, TIMESTAMPS
from wintergarden.runtime import TensorSpec

if TYPE_CHECKING:
    from services.inference.repository.repository import Model

# Of a longer tensor only name, shape and datatype are told: it would be text of megabytes.
MAX_ELEMENTS = 65_536

_ids = count(1)


class Trace:
    """Filled while a request goes its way, and given to `ended` once it has been answered.

    Attributes:
        id: of the trace, unique in this process.
        parent_id: of the trace on whose behalf this one is made; 0: none.
    """

    __slots__ = (
        "_ended", "_events", "_has_tensors", "_has_timestamps", "_levels", "id", "parent_id",
    )  # fmt: skip

    def __init__(
        self,
        model: Model,
        request: Any,
        levels: tuple[str, ...],
        ended: Callable[[list[str]], None],
        parent_id: int = 0,
    ) -> None:
        self.id = next(_ids)
        self.parent_id = parent_id
        self._levels = levels
        self._has_timestamps = TIMESTAMPS in levels
        self._has_tensors = TENSORS in levels
        self._ended: Callable[[list[str]], None] | None = ended
        about: dict[str, Any] = {
            "id": self.id,
            "model_name": model.name,
            "model_version": model.version,
        }
        if request_id := getattr(request, "id", ""):
            about["request_id"] = request_id
        if parent_id:
            about["parent_id"] = parent_id
        self._events = [json.dumps(about)]
        self.passed("REQUEST_START", request.arrived_ns)
        self.passed("QUEUE_START", request.arrived_ns)
        self.carried("TENSOR_QUEUE_INPUT", model.signature.inputs, request.feeds)

    def child(self, model: Model, request: Any) -> TracedRequest:
        """The same for a request that is made on behalf of this one."""
        trace = Trace(model, request, self._levels, self._events.extend, parent_id=self.id)
        return TracedRequest(request, model, trace)

    def computed(self, started_ns: int, merged_ns: int, inferred_ns: int) -> None:
        """The run that the request was part of, on `perf_counter_ns`'s clock."""
        self.passed("COMPUTE_START", started_ns)
        self.passed("COMPUTE_INPUT_END", merged_ns)
        self.passed("COMPUTE_OUTPUT_START", inferred_ns)

    def passed(self, name: str, ns: int) -> None:
        if self._has_timestamps:
            self._events.append(
                f'{{"id": {self.id}, "timestamps": [{{"name": "{name}", "ns": {ns}}}]}}'
            )

    def carried(
        self, activity: str, specs: Sequence[TensorSpec], arrays: Sequence[Array | None]
    ) -> None:
        if not self._has_tensors:
            return
        for spec, array in zip(specs, arrays, strict=False):
            if array is not None:
                event = {"id": self.id, "activity": activity, "tensor": _tensor(spec, array)}
                self._events.append(json.dumps(event))

    def end(self) -> None:
        """Of no effect once it has ended."""
        ended, self._ended = self._ended, None
        if ended is not None:
            self.passed("REQUEST_END", perf_counter_ns())
            ended(self._events)


class TracedRequest:
    """A `scheduling.Request` whose way is recorded; otherwise the request itself."""

    __slots__ = (
        "_model", "_request", "arrived_ns", "feeds", "form", "priority", "rows", "sequence",
        "timeout_us", "trace",
    )  # fmt: skip

    def __init__(self, request: Request, model: Model, trace: Trace) -> None:
        self.feeds: Sequence[Array | None] = request.feeds
        self.rows: int = request.rows
        self.form: Hashable = request.form
        self.arrived_ns: int = request.arrived_ns
        self.priority: int = request.priority
        self.timeout_us: int = request.timeout_us
        self.sequence: SequenceControl | None = request.sequence
        self.trace = trace
        self._model = model
        self._request = request

    @property
    def is_abandoned(self) -> bool:
        return self._request.is_abandoned

    def answer(self, outputs: Sequence[Array], *, is_final: bool = True) -> None:
        self.trace.passed("COMPUTE_END", perf_counter_ns())
        self.trace.carried("TENSOR_BACKEND_OUTPUT", self._model.signature.outputs, outputs)
        if self.trace.parent_id:
            # The answer may be the last that the request above has waited for.
            self.trace.end()
        self._request.answer(outputs, is_final=is_final)
        if is_final:
            self.trace.end()

    def refuse(self, error: Exception) -> None:
        if self.trace.parent_id:
            self.trace.end()
        self._request.refuse(error)
        self.trace.end()


def _tensor(spec: TensorSpec, array: Array) -> dict[str, str]:
    data = ""
    if array.size <= MAX_ELEMENTS:
        data = ",".join(map(_text, array.reshape(-1).tolist()))
    return {
        "name": spec.name,
        "data": data,
        "shape": ",".join(map(str, array.shape)),
        "dtype": spec.datatype,
    }


def _text(element: Any) -> str:
    if isinstance(element, bytes):
        element = element.decode(errors="replace")
    return f'"{element}"' if isinstance(element, str) else str(element)
