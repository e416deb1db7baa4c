"""What one model version has done so far."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from enum import StrEnum

# Upper bounds of the batch-size histogram, in rows.
BATCH_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Failure(StrEnum):
    """Why a request had no answer; the names are Triton's."""

    REJECTED = "REJECTED"  # the queue was full
    CANCELED = "CANCELED"  # the client left, or its deadline passed
    BACKEND = "BACKEND"  # the model could not run it
    OTHER = "OTHER"  # the request did not fit the model


@dataclass(slots=True)
class Counts:
    """Counters since the version was loaded; times in nanoseconds, summed over requests."""

    successes: int = 0
    failures: dict[Failure, int] = field(default_factory=dict)
    rows: int = 0
    executions: int = 0
    queue_ns: int = 0
    input_ns: int = 0  # putting the batch together
    infer_ns: int = 0
    output_ns: int = 0  # taking it apart and answering
    batches_up_to: list[int] = field(default_factory=lambda: [0] * (len(BATCH_ROWS) + 1))

    @property
    def request_ns(self) -> int:
        return self.queue_ns + self.input_ns + self.infer_ns + self.output_ns


class Statistics:
    """Thread-safe counts, touched once per batch and not once per request."""

    def __init__(self) -> None:
        self._counts = Counts()
        self._lock = threading.Lock()

    def executed(
        self,
        requests: int,
        rows: int,
        queue_ns: int,
        compute_ns: tuple[int, int, int],
    ) -> None:
        """Count one run.

        Args:
            requests: how many it answered.
            rows: how many rows they had in all.
            queue_ns: what they waited, in all.
            compute_ns: input, inference and output time of the run. Every request of a batch
                lives through all of it, so it counts once for each, as in Triton.
        """
        size = next((i for i, limit in enumerate(BATCH_ROWS) if rows <= limit), len(BATCH_ROWS))
        with self._lock:
            counts = self._counts
            counts.successes += requests
            counts.rows += rows
            counts.executions += 1
            counts.queue_ns += queue_ns
            counts.input_ns += requests * compute_ns[0]
            counts.infer_ns += requests * compute_ns[1]
            counts.output_ns += requests * compute_ns[2]
            counts.batches_up_to[size] += 1

    def failed(self, failure: Failure) -> None:
        with self._lock:
            failures = self._counts.failures
            failures[failure] = failures.get(failure, 0) + 1

    def read(self) -> Counts:
        """A consistent copy."""
        with self._lock:
            counts = self._counts
            return replace(
                counts, failures=dict(counts.failures), batches_up_to=list(counts.batches_up_to)
            )
