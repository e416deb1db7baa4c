"""One sequence, and one run of the model for it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Sequence
from typing import Generic

import numpy as np

from services.inference.scheduling.batching import R
from services.inference.scheduling.scheduler import Array, SequenceControl
from services.inference.sequences.plan import SequencePlan


class Slot(Generic[R]):
    """The requests of one correlation id, and the states of the sequence under way.

    Attributes:
        queue: requests in order; None where one that was given up has left a gap, at which the
            sequence ends.
        states: None while no sequence is under way, else what its next run is fed; replaced
            only between runs.
        step: the run that is queued for the engine or running.
        is_candidate: it has one of the places of `SequencePlan.max_candidates`.
        idle_since_ns: when its last run ended.
    """

    __slots__ = ("id", "idle_since_ns", "is_candidate", "queue", "states", "step")

    def __init__(self, sequence_id: int | str) -> None:
        self.id = sequence_id
        self.queue: deque[R | None] = deque()
        self.states: Sequence[Array] | None = None
        self.step: Step[R] | None = None
        self.is_candidate = False
        self.idle_since_ns = 0


class Step(Generic[R]):
    """A request as the engine sees it: with the tensors that the client knows nothing of."""

    __slots__ = (
        "_finished", "_plan", "arrived_ns", "feeds", "form", "priority", "request", "rows",
        "sequence", "slot", "timeout_us",
    )  # fmt: skip

    def __init__(
        self,
        request: R,
        control: SequenceControl,
        slot: Slot[R],
        plan: SequencePlan,
        finished: Callable[[Step[R], Sequence[Array] | None], None],
    ) -> None:
        """`finished` is told the states after the run; None: the sequence has ended.

        Raises:
            InvalidArgument: the sequence's id does not fit the model.
        """
        states = slot.states or ()
        given = [*request.feeds, *states, *[c.value(control) for c in plan.controls]]
        self.feeds: Sequence[Array | None] = [given[i] for i in plan.order]
        self.form: Hashable = request.form
        if plan.has_open_states:
            self.form = (request.form, *[state.shape[1:] for state in states])
        self.rows = request.rows
        self.arrived_ns = request.arrived_ns
        self.priority = request.priority
        self.timeout_us = request.timeout_us
        self.sequence: SequenceControl | None = control
        self.request = request
        self.slot = slot
        self._plan = plan
        self._finished = finished

    @property
    def is_abandoned(self) -> bool:
        return self.request.is_abandoned

    @property
    def trace(self) -> object:
        """Of the request itself, where it is traced."""
        return getattr(self.request, "trace", None)

    def answer(self, outputs: Sequence[Array], *, is_final: bool = True) -> None:
        plan, control = self._plan, self.sequence
        # Nobody got the answer of a request that was given up, so it must not count either.
        ends = self.request.is_abandoned or (control is not None and control.is_end)
        self.request.answer([outputs[i] for i in plan.answered])
        states = None if ends else [_own(outputs[i]) for i in plan.state_outputs]
        self._finished(self, states)

    def refuse(self, error: Exception) -> None:
        try:
            self.request.refuse(error)
        finally:
            self._finished(self, None)


def _own(state: Array) -> Array:
    """A row of a batch keeps the whole batch in memory; an idle sequence keeps its row only."""
    return state.copy() if isinstance(state.base, np.ndarray) else state
