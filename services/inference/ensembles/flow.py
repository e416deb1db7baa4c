"""One request on its way through an ensemble, and its requests to the composing models."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any, Generic, Protocol, Self

from services.inference.ensembles.plan import EnsemblePlan, Step, named
from services.inference.repository.repository import Model
from services.inference.scheduling.batching import R
from services.inference.scheduling.handover import Handed
from services.inference.scheduling.scheduler import Array, SequenceControl
from services.inference.signature import Signature
from services.inference.tracing.trace import Trace
from wintergarden.errors import FailedPrecondition


@dataclass(frozen=True)
class Binding:
    """A step held against a model's signature.

    Attributes:
        inputs: for each input of the model, the position of the ensemble's tensor; None for an
            optional input that the step leaves out.
        outputs: positions of an output of the model and of the ensemble's tensor.
    """

    inputs: tuple[int | None, ...]
    outputs: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, step: Step, signature: Signature) -> Self:
        """Binds a step.

        Raises:
            FailedPrecondition: the model is another one than the ensemble was loaded with.
        """
        gone = [repr(n) for n in step.inputs if n not in signature.input_positions]
        gone += [repr(n) for n in step.outputs if n not in signature.output_positions]
        if gone:
            raise FailedPrecondition(
                f"{signature.label} was loaded after the ensemble and has no {', '.join(gone)}; "
                "load the ensemble anew"
            )
        return cls(
            tuple(step.inputs.get(spec.name) for spec in signature.inputs),
            tuple((signature.output_positions[n], i) for n, i in step.outputs.items()),
        )


class Course(Protocol):
    """Who is told what becomes of a flow."""

    plan: EnsemblePlan

    def bind(self, index: int, sequence: SequenceControl | None) -> tuple[Model, Binding]: ...
    def go_on(self, flow: Flow[Any], ready: Sequence[int]) -> None: ...
    def succeed(self, flow: Flow[Any]) -> None: ...
    def fail(self, flow: Flow[Any], error: Exception) -> None: ...


class Flow(Generic[R]):
    """A request, the tensors it has so far, and what its steps still wait for.

    Attributes:
        started_ns: when its first steps were handed over.
        is_over: it has been answered or refused; steps that are still under way are in vain.
    """

    __slots__ = (
        "_course", "_lock", "_missing", "_plan", "_remaining", "_trace",
        "is_over", "request", "started_ns", "values",
    )  # fmt: skip

    def __init__(self, course: Course, request: R) -> None:
        plan = course.plan
        self.request = request
        self.values: list[Array | None] = [*request.feeds]
        self.values += [None] * (len(plan.tensors) - len(self.values))
        self.started_ns = perf_counter_ns()
        self.is_over = False
        self._course = course
        self._plan = plan
        self._trace: Trace | None = getattr(request, "trace", None)
        self._lock = threading.Lock()
        self._missing = list(plan.missing)
        self._remaining = len(plan.steps)

    def first_steps(self) -> list[int]:
        """The steps that need nothing but the ensemble's inputs."""
        return self._ready(range(len(self._plan.inputs)))

    def requests(self, steps: Sequence[int]) -> list[Handed]:
        """The requests of steps that have all they need.

        Raises:
            WintergardenError: a model is not served, or does not take what it is given.
        """
        handed: list[Handed] = []
        for index in steps:
            step = self._plan.steps[index]
            try:
                model, binding = self._course.bind(index, self.request.sequence)
                inner = StepRequest(self, index, model.signature, binding)
            except Exception as error:
                raise named(error, self._plan.model, step.model) from error
            traced = inner if self._trace is None else self._trace.child(model, inner)
            handed.append((model.scheduler, traced))
        return handed

    def received(self, binding: Binding, outputs: Sequence[Array]) -> None:
        """A step has its answer; the thread that brought it hands over what it makes ready."""
        with self._lock:
            if self.is_over:
                return
            for position, tensor in binding.outputs:
                self.values[tensor] = outputs[position]
            ready = self._ready([tensor for _, tensor in binding.outputs])
            self._remaining -= 1
            is_done = not self._remaining
        if is_done:
            self._course.succeed(self)
        elif ready:
            self._course.go_on(self, ready)

    def refused(self, index: int, error: Exception) -> None:
        step = self._plan.steps[index]
        self._course.fail(self, named(error, self._plan.model, step.model))

    def answer(self) -> list[Array]:
        """The ensemble's outputs, once every step has answered."""
        answered = [self.values[i] for i in self._plan.answered]
        return [value for value in answered if value is not None]

    def end(self) -> bool:
        """Whether it was not over already."""
        with self._lock:
            was_over, self.is_over = self.is_over, True
        return not was_over

    def _ready(self, tensors: Sequence[int]) -> list[int]:
        """The steps for which these were the last tensors that they needed."""
        ready = []
        for tensor in tensors:
            for step in self._plan.consumers[tensor]:
                self._missing[step] -= 1
                if not self._missing[step]:
                    ready.append(step)
        return ready


class StepRequest:
    """What a composing model is asked, on behalf of the ensemble's caller."""

    __slots__ = (
        "_binding", "_flow", "_index",
        "arrived_ns", "feeds", "form", "priority", "rows", "sequence", "timeout_us",
    )  # fmt: skip

    def __init__(self, flow: Flow[Any], index: int, signature: Signature, binding: Binding) -> None:
        """Asks for one step.

        Raises:
            InvalidTensor: the model needs an input that the caller left out, or its inputs
                disagree about the number of rows, or hold values that it has no meaning for.
        """
        request, values = flow.request, flow.values
        feeds = [None if i is None else values[i] for i in binding.inputs]
        for spec, feed in zip(signature.inputs, feeds, strict=True):
            if feed is None and not spec.is_optional:
                raise signature.invalid(spec.name, "missing, since the ensemble was not given it")
        self.feeds: Sequence[Array | None] = feeds
        self.rows: int = signature.rows(feeds)
        self.form: Hashable = signature.form(feeds)
        if signature.ranges:
            signature.check_values(feeds)
        self.arrived_ns = perf_counter_ns()
        self.priority: int = request.priority
        self.timeout_us: int = request.timeout_us
        self.sequence: SequenceControl | None = request.sequence
        self._flow = flow
        self._index = index
        self._binding = binding

    @property
    def is_abandoned(self) -> bool:
        return self._flow.is_over or self._flow.request.is_abandoned

    def answer(self, outputs: Sequence[Array], *, is_final: bool = True) -> None:
        self._flow.received(self._binding, outputs)

    def refuse(self, error: Exception) -> None:
        self._flow.refused(self._index, error)
