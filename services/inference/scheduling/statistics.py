"""What one model version has done so far, in the terms of Triton's ModelStatistics.

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_statistics.md
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from enum import StrEnum
from time import time_ns

from wintergarden.wire import open_inference_pb2 as pb

_NS_PER_MS = 1_000_000


class Failure(StrEnum):
    """Why a request had no answer; the names are Triton's."""

    REJECTED = "REJECTED"  # the queue was full, or its time in it was over
    CANCELED = "CANCELED"  # the client left, or its deadline passed
    BACKEND = "BACKEND"  # the model could not run it
    OTHER = "OTHER"  # the request did not fit the model


@dataclass(slots=True)
class Span:
    """How often something happened, and how long it took in all."""

    count: int = 0
    ns: int = 0

    def add(self, count: int, ns: int) -> None:
        self.count += count
        self.ns += ns

    def copy(self) -> Span:
        return Span(self.count, self.ns)


@dataclass(slots=True)
class BatchCounts:
    """Of the runs of one size; times once a run."""

    runs: int = 0
    input_ns: int = 0
    infer_ns: int = 0
    output_ns: int = 0


class Outcome(StrEnum):
    """What became of one of several answers; the names are Triton's."""

    SUCCESS = "success"
    FAIL = "fail"
    EMPTY = "empty_response"  # it ended the answers and added none, sent or not
    CANCEL = "cancel"


@dataclass(slots=True)
class ResponseCounts:
    """Of the n-th answers of requests that may have several."""

    compute_infer: Span = field(default_factory=Span)
    compute_output: Span = field(default_factory=Span)
    outcomes: dict[Outcome, Span] = field(default_factory=lambda: {o: Span() for o in Outcome})

    def copy(self) -> ResponseCounts:
        outcomes = {outcome: span.copy() for outcome, span in self.outcomes.items()}
        return ResponseCounts(self.compute_infer.copy(), self.compute_output.copy(), outcomes)


@dataclass(slots=True)
class Counts:
    """Counters since the version was loaded; times in nanoseconds, summed over requests.

    Attributes:
        successes: requests that were answered, `cache_hits` among them.
        computed: those of them that took runs of the model.
        failures: requests that were refused, by reason.
        failed_ns: from their arrival to their refusal, in all.
        rows: inferred; those of answers from the cache are not counted.
        executions: runs of the model.
        queue_ns: waiting, cache hits included.
        input_ns: putting batches together.
        infer_ns: the model's own time.
        output_ns: taking batches apart and answering.
        cache_hits: lookups that found an answer.
        cache_misses: lookups that found none, and the keeping of the answer that then came.
        batches: by rows.
        responses: by their number, from 0; empty but for decoupled models.
        last_inference_ns: when a request was last answered, since the epoch; 0: never.
    """

    successes: int = 0
    computed: int = 0
    failures: dict[Failure, int] = field(default_factory=dict)
    failed_ns: int = 0
    rows: int = 0
    executions: int = 0
    queue_ns: int = 0
    input_ns: int = 0
    infer_ns: int = 0
    output_ns: int = 0
    cache_hits: Span = field(default_factory=Span)
    cache_misses: Span = field(default_factory=Span)
    batches: dict[int, BatchCounts] = field(default_factory=dict)
    responses: dict[int, ResponseCounts] = field(default_factory=dict)
    last_inference_ns: int = 0

    @property
    def request_ns(self) -> int:
        """From arrival to answer, of the requests that were answered."""
        return self.queue_ns + self.input_ns + self.infer_ns + self.output_ns + self.cache_hits.ns


class Statistics:
    """Thread-safe counts, touched per batch and not per request.

    A request is counted before it is answered, so that who has an answer finds it counted; one
    that then cannot be sent is `withdrawn`.
    """

    def __init__(self) -> None:
        self._counts = Counts()
        self._lock = threading.Lock()

    def executed(
        self,
        requests: int,
        rows: int,
        queue_ns: int,
        compute_ns: tuple[int, int],
        runs: int = 1,
    ) -> None:
        """Count a run, or the runs of one long request; `handed_out` follows.

        Args:
            requests: how many it answers.
            rows: how many rows they have in all.
            queue_ns: what they waited, in all.
            compute_ns: input and inference time of the run. Every request of a batch lives
                through all of it, so it counts once for each, as in Triton.
            runs: more than one for a request in pieces.
        """
        size = _size(rows, runs)
        input_ns, infer_ns = compute_ns
        now = time_ns()
        with self._lock:
            counts = self._counts
            counts.successes += requests
            counts.computed += requests
            counts.rows += rows
            counts.executions += runs
            counts.queue_ns += queue_ns
            counts.input_ns += requests * input_ns
            counts.infer_ns += requests * infer_ns
            counts.last_inference_ns = now
            batch = counts.batches.get(size)
            if batch is None:
                batch = counts.batches[size] = BatchCounts()
            batch.runs += runs
            batch.input_ns += input_ns
            batch.infer_ns += infer_ns

    def handed_out(self, requests: int, rows: int, output_ns: int, runs: int = 1) -> None:
        """Count what it took to answer the requests of a run that `executed` has counted.

        Args:
            requests: how many were answered.
            rows: as `executed` was told.
            output_ns: from the end of the run until all had their answers.
            runs: as `executed` was told.
        """
        with self._lock:
            counts = self._counts
            counts.output_ns += requests * output_ns
            counts.batches[_size(rows, runs)].output_ns += output_ns

    def withdrawn(self, queue_ns: int, compute_ns: tuple[int, int] | None = None) -> None:
        """A request was counted as answered, and could not be told; `failed` counts it instead.

        Args:
            queue_ns: what it had waited.
            compute_ns: of its run, as `executed` was told; None: there was none.
        """
        input_ns, infer_ns = compute_ns or (0, 0)
        with self._lock:
            counts = self._counts
            counts.successes -= 1
            counts.computed -= compute_ns is not None
            counts.queue_ns -= queue_ns
            counts.input_ns -= input_ns
            counts.infer_ns -= infer_ns

    def answered(self, queue_ns: int, infer_ns: int) -> None:
        """Count a request that many runs answer, each of which was counted by itself."""
        with self._lock:
            counts = self._counts
            counts.successes += 1
            counts.computed += 1
            counts.queue_ns += queue_ns
            counts.infer_ns += infer_ns
            counts.last_inference_ns = time_ns()

    def failed(self, failure: Failure, ns: int = 0) -> None:
        """Count a request that was refused `ns` after it had come."""
        with self._lock:
            counts = self._counts
            counts.failures[failure] = counts.failures.get(failure, 0) + 1
            counts.failed_ns += ns

    def cache_hit(self, queue_ns: int, lookup_ns: int) -> None:
        """Count a request that is answered without a run."""
        with self._lock:
            counts = self._counts
            counts.successes += 1
            counts.queue_ns += queue_ns
            counts.cache_hits.add(1, lookup_ns)
            counts.last_inference_ns = time_ns()

    def cache_miss(self, ns: int) -> None:
        """Count a request for which the cache did nothing but take time."""
        with self._lock:
            self._counts.cache_misses.add(1, ns)

    def responded(self, number: int, outcome: Outcome, infer_ns: int, output_ns: int) -> None:
        """Count one answer of a decoupled model.

        Args:
            number: which of its request's answers it was, from 0.
            outcome: what became of it.
            infer_ns: from the request's arrival, or the answer before, until its values were there.
            output_ns: from then until it was written.
        """
        with self._lock:
            counts = self._counts.responses.setdefault(number, ResponseCounts())
            counts.outcomes[outcome].add(1, infer_ns + output_ns)
            counts.compute_infer.add(1, infer_ns)
            counts.compute_output.add(1, output_ns)

    def read(self) -> Counts:
        """A consistent copy."""
        with self._lock:
            counts = self._counts
            return replace(
                counts,
                failures=dict(counts.failures),
                cache_hits=counts.cache_hits.copy(),
                cache_misses=counts.cache_misses.copy(),
                batches={rows: replace(batch) for rows, batch in counts.batches.items()},
                responses={number: each.copy() for number, each in counts.responses.items()},
            )


def to_message(name: str, version: str, counts: Counts) -> pb.ModelStatistics:
    """What ModelStatistics says about a version."""
    message = pb.ModelStatistics(
        name=name,
        version=version,
        last_inference=counts.last_inference_ns // _NS_PER_MS,
        inference_count=counts.rows,
        execution_count=counts.executions,
        inference_stats=pb.InferStatistics(
            success=_duration(counts.successes, counts.request_ns),
            fail=_duration(sum(counts.failures.values()), counts.failed_ns),
            queue=_duration(counts.successes, counts.queue_ns),
            compute_input=_duration(counts.computed, counts.input_ns),
            compute_infer=_duration(counts.computed, counts.infer_ns),
            compute_output=_duration(counts.computed, counts.output_ns),
            cache_hit=_spent(counts.cache_hits),
            cache_miss=_spent(counts.cache_misses),
        ),
    )
    for rows, batch in sorted(counts.batches.items()):
        message.batch_stats.add(
            batch_size=rows,
            compute_input=_duration(batch.runs, batch.input_ns),
            compute_infer=_duration(batch.runs, batch.infer_ns),
            compute_output=_duration(batch.runs, batch.output_ns),
        )
    for number, response in sorted(counts.responses.items()):
        message.response_stats[str(number)].MergeFrom(
            pb.InferResponseStatistics(
                compute_infer=_spent(response.compute_infer),
                compute_output=_spent(response.compute_output),
                **{outcome: _spent(span) for outcome, span in response.outcomes.items()},
            )
        )
    return message


def _size(rows: int, runs: int) -> int:
    return rows if runs == 1 else -(-rows // runs)


def _duration(count: int, ns: int) -> pb.StatisticDuration:
    return pb.StatisticDuration(count=count, ns=ns)


def _spent(span: Span) -> pb.StatisticDuration:
    return _duration(span.count, span.ns)
