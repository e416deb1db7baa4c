"""Keeps sequences of requests apart and hands each one's state from run to run.

A sequence is an object; its states live in it and nowhere else, and it changes them only while
none of its requests is queued for the model or running. Neither an id that is used again nor an
expiry can thus bring two clients together in one state.

Knows no transport and no ONNX: an engine runs the requests, each for a sequence of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import perf_counter_ns
from typing import Any, Generic

from services.inference.batching import R
from services.inference.scheduling import Scheduler
from services.inference.sequence_plan import SequencePlan
from services.inference.timer import Timer


class SequenceScheduler(Generic[R]):
    """Triton's sequence batcher over an engine.

    The state of a sequence is what its *answered* requests made of it. A request that fails, is
    cancelled or expires ends its sequence: those queued behind it are refused, and the next one
    must start anew.
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
        """Sequences are at home here; the engine only sees single runs.

        Args:
            engine: takes all inputs of the graph and answers with all its outputs, in the
                graph's order; at least `plan.max_candidates` requests may wait for it.
            plan: how sequences are run.
            model: its name.
            timer: ends sequences that are idle for too long.
            now_ns: the clock of the timer.
        """
        self.plan = plan
        self.statistics = engine.statistics
        self._engine = engine
        self._model = model
        self._timer, self._now_ns = timer, now_ns

    @property
    def waiting(self) -> int:
        """Requests in the queues."""
        return self._engine.waiting

    @property
    def is_drained(self) -> bool:
        """Closed, and every sequence has ended."""
        return self._engine.is_drained

    def holds(self, sequence_id: int | str) -> bool:
        """A request that goes on with this sequence belongs here, also after `close`."""
        raise NotImplementedError

    def submit(self, requests: Sequence[R]) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Let sequences under way go on until they end, idle out, or `plan.drain_s` passes."""
        self._engine.close()
