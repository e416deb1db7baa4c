"""Which ways of serving are tried, in which order, and which is the best.

One thing after the other is varied, beginning with what matters most: threads and instances,
then the batch size, then the delay. Knows no models: somebody else measures.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from services.inference.tune.candidate import Candidate, powers_of_two
from services.inference.tune.load import Measurement

# Differences below these are noise, or not worth a more complicated configuration.
_WORTH = 1.03
_DELAYS_US = (200, 1_000, 5_000)

Measure = Callable[[Candidate | None], Measurement]


@dataclass(frozen=True)
class Trial:
    """A way of serving and what it achieved; without a candidate, as it is served now."""

    candidate: Candidate | None
    measurement: Measurement
    fits: bool


@dataclass(frozen=True)
class Space:
    """What may be tried.

    Attributes:
        cores: for all runs at once.
        max_batch_size: the largest; 0: requests cannot share a run.
        concurrency: rows that callers ask for at once. Batches of more never fill, so that only
            the largest stands for them.
    """

    cores: int
    max_batch_size: int
    concurrency: int

    def batch_sizes(self) -> list[int]:
        if not self.max_batch_size:
            return [0]
        smaller = [n for n in powers_of_two(self.max_batch_size) if n < self.concurrency]
        return [*(n for n in smaller if n < self.max_batch_size), self.max_batch_size]

    def placements(self) -> list[tuple[int, int]]:
        """Threads of a run and runs at once that the cores suffice for."""
        return [
            (threads, instances)
            for threads in powers_of_two(self.cores)
            for instances in powers_of_two(self.cores // threads)
        ]


class Search:
    """Tries what the space allows; `trials` are all so far, the first as it is served now."""

    def __init__(self, space: Space, p99_ms: float, measure: Measure) -> None:
        self.trials: list[Trial] = []
        self._space = space
        self._p99_ms = p99_ms
        self._measure = measure

    def run(self) -> Iterator[Trial]:
        """Every trial as it is done."""
        yield self._try(None)
        largest = self._space.batch_sizes()[-1]
        yield from self._vary(Candidate(t, i, largest) for t, i in self._space.placements())
        yield from self._vary(
            replace(self._chosen(), max_batch_size=size)
            for size in self._space.batch_sizes()[-2::-1]
        )
        chosen = self._chosen()
        if chosen.max_batch_size > 1:
            affordable = [d for d in _DELAYS_US if d / 1e3 < self._p99_ms / 2]
            yield from self._vary(replace(chosen, delay_us=delay) for delay in affordable)

    def best(self) -> Trial:
        """The fastest within the budget; where none is, the one that comes nearest to it."""
        return _best(self.trials)

    def _vary(self, candidates: Iterable[Candidate]) -> Iterator[Trial]:
        for candidate in candidates:
            if all(trial.candidate != candidate for trial in self.trials):
                yield self._try(candidate)

    def _try(self, candidate: Candidate | None) -> Trial:
        measurement = self._measure(candidate)
        trial = Trial(candidate, measurement, measurement.p99_ms <= self._p99_ms)
        self.trials.append(trial)
        return trial

    def _chosen(self) -> Candidate:
        candidate = _best(self.trials[1:]).candidate
        if candidate is None:
            raise ValueError("only the first trial has no candidate")
        return candidate


def _best(trials: Iterable[Trial]) -> Trial:
    """Of several that are about as good, the first, which is the simplest."""
    best: Trial | None = None
    for trial in trials:
        if best is None or is_better(trial, best):
            best = trial
    if best is None:
        raise ValueError("nothing has been tried")
    return best


def is_better(trial: Trial, than: Trial) -> bool:
    """By more than noise."""
    if trial.fits != than.fits:
        return trial.fits
    if trial.fits:
        return trial.measurement.rows_per_s > _WORTH * than.measurement.rows_per_s
    return trial.measurement.p99_ms * _WORTH < than.measurement.p99_ms
