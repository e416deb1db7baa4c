"""Keeps sequences of requests apart and hands each one's states from run to run.

A sequence's states live in its slot and nowhere else, and change only between its runs; it never
has two runs at once, and expires only while none of its requests waits or runs. So neither an id
that is used again, nor a cancellation, nor an expiry brings two clients together in one state.

Knows no transport and no ONNX: an engine runs the steps, each of another sequence.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter_ns
from typing import Any, Generic
from weakref import WeakMethod

from services.inference.scheduling.batching import R
from services.inference.scheduling.handover import hand_over
from services.inference.scheduling.scheduler import Array, Request, Scheduler
from services.inference.scheduling.statistics import Failure
from services.inference.scheduling.timer import Timer
from services.inference.sequences.plan import SequencePlan
from services.inference.sequences.slots import Slots
from services.inference.sequences.step import Slot, Step
from wintergarden.errors import (
    Cancelled,
    DeadlineExceeded,
    InvalidArgument,
    Overloaded,
    Unavailable,
)

# A full queue is searched for requests that nobody waits for at most this often: it takes time.
_SWEEP_NS = 10_000_000


@dataclass(slots=True)
class _Outcome(Generic[R]):
    """What to do once the lock is released, since both may lead back here."""

    ready: list[Step[R]] = field(default_factory=list)
    refused: list[tuple[R, Exception, Failure]] = field(default_factory=list)


class SequenceScheduler(Generic[R]):
    """Triton's sequence batcher over an engine.

    A sequence's states are what its *answered* requests made of them. A request that fails, is
    cancelled or expires ends its sequence, and the next one must start anew.
    """

    def __init__(
        self,
        engine: Scheduler[Any],
        plan: SequencePlan,
        model: str,
        *,
        timer: Timer,
        now_ns: Callable[[], int] = perf_counter_ns,
    ) -> None:
        """Sequences are at home here; the engine sees single runs.

        Args:
            engine: takes all inputs of the graph and answers with all its outputs, in the
                graph's order; `plan.max_candidates` requests must be able to wait for it.
            plan: how sequences are run.
            model: its name.
            timer: ends sequences that are idle for too long.
            now_ns: the timer's clock.
        """
        self.plan = plan
        self.statistics = engine.statistics
        self._engine = engine
        self._model = model
        self._now_ns = now_ns
        self._expiry = timer.alarm(_weakly(self._expire))
        self._timeouts = timer.alarm(_weakly(self._time_out))
        self._drain = timer.alarm(_weakly(self._give_up))
        self._lock = threading.Lock()
        self._slots: Slots[R] = Slots(plan.max_candidates, int(plan.max_idle_s * 1e9))
        self._waiting = 0
        self._swept_ns = -_SWEEP_NS
        self._is_closed = False

    @property
    def waiting(self) -> int:
        """Requests in the queues, the engine's included."""
        return self._waiting + self._engine.waiting

    @property
    def is_drained(self) -> bool:
        """Closed, and every sequence has ended."""
        return self._is_closed and not self._slots and self._engine.is_drained

    def holds(self, sequence_id: int | str) -> bool:
        """A request that goes on with this sequence belongs here, after `close` as well."""
        return sequence_id in self._slots

    def end(self, sequence_id: int | str) -> None:
        """End a sequence behind the requests that have come; the next one must start anew."""
        outcome: _Outcome[R] = _Outcome()
        with self._lock:
            slot = self._slots.get(sequence_id)
            if slot is not None:
                self._end_here(slot, outcome)
                self._promote(outcome)
        self._carry_out(outcome)

    def submit(self, requests: Sequence[R]) -> None:
        """Run requests as their sequences allow."""
        outcome: _Outcome[R] = _Outcome()
        with self._lock:
            for request in requests:
                self._admit(request, outcome)
        self._carry_out(outcome)

    def close(self) -> None:
        """Let sequences under way go on until they end, idle out, or `plan.drain_s` passes."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
            if self._slots:
                self._drain.set(self._now_ns() + int(self.plan.drain_s * 1e9))
        self._carry_out(_Outcome())

    def _admit(self, request: R, outcome: _Outcome[R]) -> None:
        control = request.sequence
        if control is None:
            problem = "must specify a non-zero or non-empty correlation ID"
            outcome.refused.append((request, self._invalid(problem), Failure.OTHER))
            return
        if self.plan.is_batched and request.rows != 1:
            problem = (
                f"must specify batch-size 1, as every request of a sequence; got {request.rows}"
            )
            outcome.refused.append((request, self._invalid(problem), Failure.OTHER))
            return
        is_full = self._is_full(control.id not in self._slots, outcome)
        slot = self._slots.get(control.id)  # it may have been one that nobody waits for
        if slot is None and not control.is_start:
            outcome.refused.append((request, self._must_start(control.id), Failure.OTHER))
            return
        if is_full:
            full = Overloaded(f"model {self._model!r}: {self._waiting} requests wait already")
            outcome.refused.append((request, full, Failure.REJECTED))
            if slot is not None:
                self._end_here(slot, outcome)
                self._promote(outcome)
            return
        if slot is None:
            slot = self._slots.add(control.id)
        slot.queue.append(request)
        self._waiting += 1
        self._go_on(slot, outcome)
        self._promote(outcome)
        if request.timeout_us and slot.queue and slot.queue[-1] is request:
            self._ring_at(_due_ns(request))

    def _is_full(self, is_new: bool, outcome: _Outcome[R]) -> bool:
        """Newcomers find no room first: to lose one request is to lose the whole sequence."""
        limit = self.plan.max_waiting if is_new else 2 * self.plan.max_waiting
        if self._waiting < limit:
            return False
        now_ns = self._now_ns()
        if now_ns - self._swept_ns < _SWEEP_NS:
            return True
        self._swept_ns = now_ns
        for slot in self._slots:
            for i, request in enumerate(slot.queue):
                if request is not None and request.is_abandoned:
                    self._leave_gap(slot, i)
                    outcome.refused.append((request, _gone(), Failure.CANCELED))
        self._slots.tidy()
        return self._waiting >= limit

    def _end_here(self, slot: Slot[R], outcome: _Outcome[R]) -> None:
        """The slot's sequence ends behind what it has queued, and before what comes."""
        if not slot.queue or slot.queue[-1] is not None:
            slot.queue.append(None)
        self._go_on(slot, outcome)

    def _go_on(self, slot: Slot[R], outcome: _Outcome[R]) -> None:
        """Start the slot's next run, if it may run; else see to it that it rests or leaves.

        One that leaves makes room: `_promote` must follow.
        """
        if not slot.is_candidate or slot.step is not None:
            return
        self._slots.wake(slot)
        while slot.queue:
            request = slot.queue.popleft()
            if request is None:
                slot.states = None
                continue
            self._waiting -= 1
            step = self._begin(slot, request, outcome)
            if step is not None:
                slot.step = step
                outcome.ready.append(step)
                return
        if slot.states is None:
            self._slots.release(slot)
            return
        due_ns = self._slots.rest(slot, self._now_ns())
        if self._expiry.due_ns is None:
            self._expiry.set(due_ns)

    def _begin(self, slot: Slot[R], request: R, outcome: _Outcome[R]) -> Step[R] | None:
        control = request.sequence
        if request.is_abandoned:
            slot.states = None
            outcome.refused.append((request, _gone(), Failure.CANCELED))
            return None
        if control is not None and control.is_start:
            slot.states = self.plan.initial_states
        if control is None or slot.states is None:
            outcome.refused.append((request, self._must_start(slot.id), Failure.OTHER))
            return None
        try:
            return Step(request, control, slot, self.plan, self._finished)
        except Exception as error:
            slot.states = None
            outcome.refused.append((request, error, Failure.OTHER))
            return None

    def _finished(self, step: Step[R], states: Sequence[Array] | None) -> None:
        outcome: _Outcome[R] = _Outcome()
        with self._lock:
            slot = step.slot
            if slot.step is not step:
                return  # it was over already
            slot.step, slot.states = None, states
            if states is None:
                self._refuse_orphans(slot, outcome)
                if slot.queue and self._slots.has_backlog:
                    self._slots.demote(slot)  # its next sequence is younger than those that wait
            self._go_on(slot, outcome)
            self._promote(outcome)
        self._carry_out(outcome)

    def _refuse_orphans(self, slot: Slot[R], outcome: _Outcome[R]) -> None:
        """Requests that were queued for a sequence that has ended under them."""
        while slot.queue:
            request = slot.queue[0]
            if request is not None:
                if request.sequence is not None and request.sequence.is_start:
                    return
                outcome.refused.append((request, self._must_start(slot.id), Failure.OTHER))
                self._waiting -= 1
            slot.queue.popleft()

    def _promote(self, outcome: _Outcome[R]) -> None:
        while (slot := self._slots.promote()) is not None:
            self._go_on(slot, outcome)

    def _leave_gap(self, slot: Slot[R], index: int) -> None:
        slot.queue[index] = None
        self._waiting -= 1

    def _ring_at(self, due_ns: int) -> None:
        if self._timeouts.due_ns is None or due_ns < self._timeouts.due_ns:
            self._timeouts.set(due_ns)

    def _time_out(self) -> None:
        """On the timer's thread: refuse what has waited for as long as it may."""
        outcome: _Outcome[R] = _Outcome()
        with self._lock:
            now_ns = self._now_ns()
            for slot in self._slots:
                for i, request in enumerate(slot.queue):
                    if request is None or not request.timeout_us:
                        continue
                    if _due_ns(request) > now_ns:
                        self._ring_at(_due_ns(request))
                        continue
                    self._leave_gap(slot, i)
                    late = DeadlineExceeded(
                        f"model {self._model!r}: the request waited for its timeout of "
                        f"{request.timeout_us} µs"
                    )
                    outcome.refused.append((request, late, Failure.REJECTED))
            self._slots.tidy()
        self._carry_out(outcome)

    def _expire(self) -> None:
        """On the timer's thread: end the sequences that have been idle for too long."""
        outcome: _Outcome[R] = _Outcome()
        with self._lock:
            self._expiry.set(self._slots.expire(self._now_ns()))
            self._promote(outcome)
        self._carry_out(outcome)

    def _give_up(self) -> None:
        """On the timer's thread: end all sequences; what runs is still answered."""
        outcome: _Outcome[R] = _Outcome()
        with self._lock:
            for slot in list(self._slots):
                for i, request in enumerate(slot.queue):
                    if request is not None:
                        self._leave_gap(slot, i)
                        error = Unavailable(
                            f"model {self._model!r}: the version that sequence {slot.id!r:.200} "
                            "runs on has been replaced; start the sequence anew"
                        )
                        outcome.refused.append((request, error, Failure.OTHER))
                self._end_here(slot, outcome)
            self._promote(outcome)
        self._carry_out(outcome)

    def _carry_out(self, outcome: _Outcome[R]) -> None:
        for request, error, failure in outcome.refused:
            self.statistics.failed(failure, self._now_ns() - request.arrived_ns)
            request.refuse(error)
        if outcome.ready:
            hand_over((self._engine, step) for step in outcome.ready)
        if self._is_closed and not self._slots:
            self._engine.close()

    def _invalid(self, problem: str) -> InvalidArgument:
        return InvalidArgument(
            f"inference request to model {self._model!r} {problem}", field="parameters.sequence_id"
        )

    def _must_start(self, sequence_id: int | str) -> InvalidArgument:
        return InvalidArgument(
            f"inference request for sequence {str(sequence_id)[:200]} to model {self._model!r} "
            "must specify the START flag on the first request of the sequence; none of that id is "
            "under way: it has ended, failed, been idle for too long, or never begun",
            field="parameters.sequence_start",
        )


def _due_ns(request: Request) -> int:
    return request.arrived_ns + request.timeout_us * 1000


def _weakly(method: Callable[[], None]) -> Callable[[], None]:
    """The timer must not keep a model in memory that nobody else does."""
    weak = WeakMethod(method)

    def call() -> None:
        alive = weak()
        if alive is not None:
            alive()

    return call


def _gone() -> Cancelled:
    return Cancelled("nobody waits for the answer any more")
