"""Writes many texts at once: one step of the model gives each of them its next token.

Continuous batching at the level of tokens (Yu et al., "Orca: A Distributed Serving System for
Transformer-Based Generative Models", OSDI 2022, §3): between any two steps a text may join the
batch or leave it, and prompts are fed by the same steps in which others already speak.

A text's states are its row of the stepper and nothing else: zeros when it joins, gone when it
leaves, whether it has ended, failed, or nobody waits for it any more.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import perf_counter_ns
from typing import Generic, Protocol

import numpy as np
import structlog

from services.inference.generation import asking
from services.inference.generation.generation import Generation
from services.inference.generation.sampling import Choices
from services.inference.generation.statistics import GenerationStatistics
from services.inference.generation.writer import Writer
from services.inference.scheduling.batching import R
from services.inference.scheduling.priorities import lower_for_long_runs
from services.inference.scheduling.scheduler import Array
from services.inference.scheduling.statistics import Failure, Statistics
from wintergarden.errors import (
    Cancelled,
    DeadlineExceeded,
    FailedPrecondition,
    Overloaded,
    Unavailable,
    WintergardenError,
)

_log = structlog.get_logger(__name__)

_SWEEP_NS = 50_000_000
_RETRY_AFTER_S = 1.0
_DRAIN_NS = 60_000_000_000


class Stepper(Protocol):
    """What a generator needs of `wintergarden.runtime.Stepper`; for one thread."""

    rows: int

    @property
    def is_full(self) -> bool: ...
    def join(self) -> int: ...
    def leave(self, row: int) -> None: ...
    def step(self, tokens: Array) -> Array: ...
    def release(self) -> None: ...


class Generator(Generic[R]):
    """Implements `Scheduler` for requests of `asking.INPUTS`.

    Its thread lives while there is something to write, and its memory as long.
    """

    def __init__(
        self,
        stepper: Stepper,
        writer: Writer,
        statistics: Statistics,
        *,
        max_waiting: int = 1024,
        gives_way: bool = False,
        now_ns: Callable[[], int] = perf_counter_ns,
    ) -> None:
        """Writes nothing yet.

        Args:
            stepper: of the model, without rows.
            writer: knows its tokens.
            statistics: of the version.
            max_waiting: texts that may wait for a row; more are refused.
            gives_way: the thread leaves the processor to whoever wakes up.
            now_ns: the clock.
        """
        self.statistics = statistics
        self.generated = GenerationStatistics()
        self._stepper = stepper
        self._writer = writer
        self._max_waiting = max_waiting
        self._gives_way = gives_way
        self._now_ns = now_ns
        self._lock = threading.Lock()
        self._waiting: deque[Generation[R]] = deque()
        self._thread: threading.Thread | None = None
        self._closed_ns: int | None = None
        self._swept_ns = 0
        # Of the thread alone: the stepper's rows, in order, and what they ask of the sampler.
        self._rows: list[Generation[R]] = []
        self._choices: tuple[int, Choices] | None = None

    @property
    def waiting(self) -> int:
        """Texts that wait for a row."""
        return len(self._waiting)

    @property
    def active(self) -> int:
        """Texts that are being written."""
        return len(self._rows)

    @property
    def is_drained(self) -> bool:
        """Closed, and every text has its end."""
        return self._closed_ns is not None and self._thread is None

    def submit(self, requests: Sequence[R]) -> None:
        """Write what is asked for, as soon as there is a row for it."""
        for request in requests:
            try:
                generation = Generation(request, asking.read(request.feeds), self._writer)
                # Who brings requests may have those of other models too, which must not wait.
                if generation.is_quickly_begun:
                    generation.begin()
                self._enqueue(generation)
            except Exception as error:
                self._decline(request, error)

    def close(self) -> None:
        """Finish what was begun, for at most a minute; a late request is still answered."""
        with self._lock:
            if self._closed_ns is None:
                self._closed_ns = self._now_ns()

    def _enqueue(self, generation: Generation[R]) -> None:
        with self._lock:
            if len(self._waiting) >= self._max_waiting:
                raise Overloaded(
                    f"{self._writer.label}: {len(self._waiting)} texts wait already",
                    retry_after_s=_RETRY_AFTER_S,
                )
            if self._thread is None:
                thread = threading.Thread(
                    target=self._work, name=f"{self._writer.label} writes", daemon=True
                )
                try:
                    thread.start()  # it looks for texts once the lock is free
                except RuntimeError as error:
                    raise Overloaded(
                        f"{self._writer.label}: no thread to write with: {error}",
                        retry_after_s=_RETRY_AFTER_S,
                    ) from error
                self._thread = thread
            self._waiting.append(generation)

    def _work(self) -> None:
        if self._gives_way:
            lower_for_long_runs()
        while True:
            try:
                self._turn()
            except Exception as error:
                self._fail(error)
            if self._rows:
                continue
            with self._lock:
                if not self._waiting:
                    self._stepper.release()
                    self._thread = None
                    return

    def _turn(self) -> None:
        """One step for everybody who is there."""
        started = self._now_ns()
        self._sweep(started)
        self._leave_gone(started)
        self._admit(started)
        rows = self._rows
        if not rows:
            return
        tokens = np.fromiter((row.token for row in rows), np.int64, len(rows))
        merged = self._now_ns()
        logits = self._stepper.step(tokens)
        inferred = self._now_ns()
        self.statistics.executed(0, len(rows), 0, (merged - started, inferred - merged))
        speaking = [i for i, row in enumerate(rows) if row.is_speaking]
        for row in rows:
            if not row.is_speaking:
                row.feed()
        count, first_ns = len(rows), self._speak(speaking, logits, inferred)
        read = count - len(speaking) + len(first_ns)  # who speaks first has read its last
        self.generated.stepped(read, len(speaking), first_ns)
        self.statistics.handed_out(0, count, self._now_ns() - inferred)

    def _speak(self, speaking: list[int], logits: Array, now_ns: int) -> list[int]:
        """Tell each its next token; how long those waited who were told their first."""
        if not speaking:
            return []
        rows = self._rows
        if self._choices is None or self._choices[0] != len(speaking):
            # Until somebody joins or leaves, speakers only grow more.
            self._choices = len(speaking), Choices([rows[i].sampling for i in speaking])
        if len(speaking) < len(rows):
            logits = logits[speaking]
        numbers = [rows[i].draw() for i in speaking]
        tokens, log_probabilities = self._choices[1].choose(logits, numbers)
        first_ns, over = [], []
        for i, token, log_probability in zip(
            speaking, tokens.tolist(), log_probabilities.tolist(), strict=True
        ):
            row = rows[i]
            if not row.count:
                first_ns.append(now_ns - row.request.arrived_ns)
            if self._say(row, token, log_probability):
                over.append(i)
        for i in reversed(over):
            self._remove(i)
        return first_ns

    def _say(self, row: Generation[R], token: int, log_probability: float) -> bool:
        """Whether it is over."""
        request = row.request
        try:
            if math.isnan(log_probability):
                raise FailedPrecondition(
                    f"{self._writer.label}: its logits are no numbers after {row.count} tokens"
                )
            answer, is_over = row.say(token, log_probability)
        except Exception as error:
            self._refuse(request, error, Failure.BACKEND)
            return True
        if answer is None:
            return False
        waited_ns, lived_ns = row.joined_ns - request.arrived_ns, self._now_ns() - row.joined_ns
        if is_over:
            self.statistics.answered(waited_ns, lived_ns)
        try:
            request.answer(answer, is_final=is_over)
        except Exception as error:  # an answer that cannot be sent costs nobody else theirs
            if is_over:
                self.statistics.withdrawn(waited_ns, (0, lived_ns))
            self._refuse(request, error, Failure.BACKEND)
            return True
        return is_over

    def _admit(self, now_ns: int) -> None:
        while self._waiting and not self._stepper.is_full:
            with self._lock:
                generation = self._waiting.popleft()
            if generation.request.is_abandoned:
                self._refuse(generation.request, _gone(), Failure.CANCELED)
                continue
            try:
                if not generation.has_begun:
                    generation.begin()
            except Exception as error:  # nobody else has it any more
                self._decline(generation.request, error)
                continue
            try:
                self._stepper.join()
            except MemoryError:
                full = Overloaded(f"{self._writer.label}: no memory for one text more")
                self._refuse(generation.request, full, Failure.REJECTED)
                return
            generation.joined_ns = now_ns
            self._rows.append(generation)
            self._choices = None

    def _leave_gone(self, now_ns: int) -> None:
        is_late = self._closed_ns is not None and now_ns - self._closed_ns > _DRAIN_NS
        for i in range(len(self._rows) - 1, -1, -1):
            request = self._rows[i].request
            if request.is_abandoned:
                self._refuse(request, _gone(), Failure.CANCELED)
                self._remove(i)
            elif is_late and request.arrived_ns < (self._closed_ns or 0):
                unloaded = f"{self._writer.label} is unloaded, and the text is not at its end"
                self._refuse(request, Unavailable(unloaded), Failure.OTHER)
                self._remove(i)

    def _remove(self, row: int) -> None:
        """As the stepper does it: the last takes its place."""
        self._stepper.leave(row)
        last = self._rows.pop()
        if row < len(self._rows):
            self._rows[row] = last
        self._choices = None

    def _sweep(self, now_ns: int) -> None:
        """Refuse those in the queue for whom nobody waits, or who have waited for long enough."""
        if not self._waiting or now_ns - self._swept_ns < _SWEEP_NS:
            return
        self._swept_ns = now_ns
        with self._lock:
            gone = [g for g in self._waiting if g.request.is_abandoned]
            late = [g for g in self._waiting if _is_late(g.request, now_ns) and g not in gone]
            if gone or late:
                left = {*map(id, gone), *map(id, late)}
                self._waiting = deque(g for g in self._waiting if id(g) not in left)
        for generation in gone:
            self._refuse(generation.request, _gone(), Failure.CANCELED)
        for generation in late:
            error = DeadlineExceeded(
                f"{self._writer.label}: the request waited for its timeout of "
                f"{generation.request.timeout_us} µs"
            )
            self._refuse(generation.request, error, Failure.REJECTED)

    def _fail(self, error: Exception) -> None:
        """A step went wrong: none of those in it can go on."""
        _log.warning("texts lost", model=self._writer.label, texts=len(self._rows), exc_info=error)
        lost, self._rows, self._choices = self._rows, [], None
        self._stepper.release()
        for generation in lost:
            self._refuse(generation.request, error, Failure.BACKEND)

    def _decline(self, request: R, error: Exception) -> None:
        """Refuse what has not begun, for whatever reason."""
        failure = Failure.REJECTED if isinstance(error, Overloaded) else Failure.OTHER
        if not isinstance(error, WintergardenError):
            _log.exception("not generated", model=self._writer.label)
            failure = Failure.BACKEND
        self._refuse(request, error, failure)

    def _refuse(self, request: R, error: Exception, failure: Failure) -> None:
        self.statistics.failed(failure, self._now_ns() - request.arrived_ns)
        _log.debug("not generated", model=self._writer.label, failure=failure, error=repr(error))
        with suppress(Exception):  # nobody to tell
            request.refuse(error)


def _is_late(request: R, now_ns: int) -> bool:
    return bool(request.timeout_us) and now_ns - request.arrived_ns > request.timeout_us * 1000


def _gone() -> Cancelled:
    return Cancelled("nobody waits for the text any more")
