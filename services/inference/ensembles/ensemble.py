"""Answers requests to an ensemble by requests to the models it is composed of.

Everything happens in answers: a step is handed over by the thread that brought the last of its
inputs, so that no thread ever waits for a step. Arrays are handed on as they are. The composing
models' own schedulers batch the steps of many requests.

Knows no transport and no ONNX.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from time import perf_counter_ns
from typing import Any, Generic, Protocol
from weakref import ref

from services.inference.ensembles.flow import Binding, Flow
from services.inference.ensembles.plan import EnsemblePlan
from services.inference.repository.repository import Model
from services.inference.scheduling.batching import R
from services.inference.scheduling.handover import Handed, call_later, hand_over
from services.inference.scheduling.scheduler import SequenceControl
from services.inference.scheduling.statistics import Failure, Statistics
from services.inference.sequences.scheduler import SequenceScheduler
from wintergarden.errors import (
    Cancelled,
    DeadlineExceeded,
    InvalidArgument,
    Overloaded,
    WintergardenError,
)


class Resolve(Protocol):
    """Finds a composing model as it is served at that moment: `Repository.resolve`."""

    def __call__(
        self,
        name: str,
        version: str = "",
        sequence: SequenceControl | None = None,
    ) -> Model: ...


class Ensemble(Generic[R]):
    """Triton's ensemble scheduler.

    Requests of one sequence go through it one at a time, so that they reach the model that keeps
    its state in their order; one that fails ends the sequence there too.
    """

    def __init__(self, plan: EnsemblePlan, resolve: Resolve) -> None:
        """Holds the plan to the composing models as they are served now.

        Raises:
            InvalidArgument: the plan does not fit them, or one is composed of this ensemble.
            NotFound: there is no such model.
            Unavailable: a model is not served now.
        """
        self.plan = plan
        self.statistics = Statistics()
        self._resolve = resolve
        # Not the models themselves: one that is unloaded must leave memory.
        self._bindings: list[tuple[ref[Model], Binding] | None] = [None] * len(plan.steps)
        self._lock = threading.Lock()
        self._under_way = 0
        self._turns: dict[int | str, deque[R]] = {}  # sequences with a request under way
        self._is_closed = False
        plan.check(lambda name, version: resolve(name, version).signature)
        self._refuse_circles()

    @property
    def waiting(self) -> int:
        """Requests that wait for one of their sequence."""
        return sum(map(len, list(self._turns.values())))

    @property
    def is_drained(self) -> bool:
        """Closed, and every request has its answer."""
        return self._is_closed and not self._under_way

    def holds(self, sequence_id: int | str) -> bool:
        """A composing model keeps a state of this sequence."""
        return any(s.holds(sequence_id) for s in self._keepers(sequence_id))

    def end(self, sequence_id: int | str) -> None:
        """End a sequence wherever its states are kept."""
        for scheduler in self._keepers(sequence_id):
            scheduler.end(sequence_id)

    def submit(self, requests: Sequence[R]) -> None:
        """Answer requests; steps that can run at once are handed over together."""
        begins, full = [], []
        with self._lock:
            for request in requests:
                turns = None if request.sequence is None else self._turns.get(request.sequence.id)
                if turns is not None and len(turns) >= self.plan.max_waiting:
                    full.append(request)
                    continue
                self._under_way += 1
                if turns is not None:
                    turns.append(request)
                    continue
                if request.sequence is not None:
                    self._turns[request.sequence.id] = deque()
                begins.append(request)
        self._begin(begins)
        for request in full:
            self._overflow(request)

    def close(self) -> None:
        """A late request is still answered."""
        self._is_closed = True

    def bind(self, index: int, sequence: SequenceControl | None) -> tuple[Model, Binding]:
        """The model of a step, as it is served now, for a flow."""
        step, bound = self.plan.steps[index], self._bindings[index]
        model = self._resolve(step.model, step.version, sequence)
        if bound is None or bound[0]() is not model:
            bound = self._bindings[index] = ref(model), Binding.of(step, model.signature)
        return model, bound[1]

    def go_on(self, flow: Flow[R], ready: Sequence[int]) -> None:
        """Hand over the steps of a flow that have all they need."""
        try:
            pairs = flow.requests(ready)
        except Exception as error:
            self.fail(flow, error)
        else:
            hand_over(pairs)

    def succeed(self, flow: Flow[R]) -> None:
        """Every step of a flow has its answer."""
        if flow.end():
            call_later(lambda: self._answer(flow))

    def fail(self, flow: Flow[R], error: Exception) -> None:
        """A step of a flow was refused; the caller hears of the first one."""
        if flow.end():
            call_later(lambda: self._give_up(flow.request, error))

    def _answer(self, flow: Flow[R]) -> None:
        request, finished_ns = flow.request, perf_counter_ns()
        is_lost = request.is_abandoned
        waited_ns = flow.started_ns - request.arrived_ns
        compute_ns = (0, finished_ns - flow.started_ns)
        self.statistics.executed(1, request.rows, waited_ns, compute_ns)
        try:
            request.answer(flow.answer())
        except Exception as error:
            self.statistics.withdrawn(waited_ns, compute_ns)
            self._give_up(request, error)
            return
        self.statistics.handed_out(1, request.rows, perf_counter_ns() - finished_ns)
        self._begin(self._next(request, is_lost))

    def _give_up(self, request: R, error: Exception) -> None:
        self._refuse(request, error)
        self._begin(self._next(request, is_lost=True))

    def _begin(self, requests: Iterable[R]) -> None:
        pairs: list[Handed] = []
        waiting = deque(requests)
        while waiting:
            request = waiting.popleft()
            flow: Flow[R] = Flow(self, request)
            try:
                pairs += flow.requests(flow.first_steps())
            except Exception as error:
                flow.end()
                self._refuse(request, error)
                waiting.extend(self._next(request, is_lost=True))
        if pairs:
            hand_over(pairs)

    def _next(self, request: R, is_lost: bool) -> list[R]:
        """A request is done; what may begin now."""
        control = request.sequence
        if control is not None and is_lost:
            self.end(control.id)
        with self._lock:
            self._under_way -= 1
            if control is None:
                return []
            turns = self._turns[control.id]
            if turns:
                return [turns.popleft()]
            del self._turns[control.id]
            return []

    def _overflow(self, request: R) -> None:
        limit = self.plan.max_waiting
        if request.sequence is not None:
            self.end(request.sequence.id)
        self._refuse(
            request,
            Overloaded(
                f"ensemble {self.plan.model!r}: {limit} requests of this sequence wait already"
            ),
        )

    def _refuse(self, request: R, error: Exception) -> None:
        failure = Failure.BACKEND
        if isinstance(error, Cancelled):
            failure = Failure.CANCELED
        elif isinstance(error, Overloaded | DeadlineExceeded):
            failure = Failure.REJECTED
        self.statistics.failed(failure, perf_counter_ns() - request.arrived_ns)
        request.refuse(error)

    def _keepers(self, sequence_id: int | str) -> Iterator[SequenceScheduler[Any]]:
        """Those that keep sequences among the composing models, at any depth."""
        plans = [self.plan]
        sequence = SequenceControl(sequence_id, is_start=False, is_end=False)
        while plans:
            for step in plans.pop().steps:
                try:
                    scheduler = self._resolve(step.model, step.version, sequence).scheduler
                except WintergardenError:
                    continue  # what is not served keeps nothing
                if isinstance(scheduler, SequenceScheduler):
                    yield scheduler
                elif isinstance(scheduler, Ensemble):
                    plans.append(scheduler.plan)

    def _refuse_circles(self) -> None:
        to_see = [(step.model, step.version) for step in self.plan.steps]
        seen = set()
        while to_see:
            name, version = to_see.pop()
            if name == self.plan.model:
                raise InvalidArgument(
                    f"ensemble {name!r} is composed of itself, directly or through another one"
                )
            if (name, version) in seen:
                continue
            seen.add((name, version))
            scheduler: Any = self._resolve(name, version).scheduler
            if isinstance(scheduler, Ensemble):
                to_see += [(step.model, step.version) for step in scheduler.plan.steps]
