"""The seam between those who bring requests and those who run models.

Whatever answers for a model version is a `Scheduler`: the batching engine, the one that keeps
sequences apart, the one that runs an ensemble's steps. Numpy in, numpy out: no transport here.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np

from services.inference.scheduling.statistics import Statistics

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True)
class SequenceControl:
    """Where a request stands in its sequence.

    Attributes:
        id: the caller's name for it: a positive number or a text; two clients that choose the
            same one mean the same sequence, as in Triton.
        is_start: the first request; a sequence of that id that is under way begins anew.
        is_end: the last request; its state is forgotten afterwards.
    """

    id: int | str
    is_start: bool
    is_end: bool


class Request(Protocol):
    """One caller's tensors and the chance to answer.

    Attributes:
        feeds: one array per input of the model, in the order of its signature; None for an
            optional input that the caller left out.
        rows: what the request counts for: the length of its feeds along axis 0, or 1 for a
            model whose requests run alone.
        form: requests of equal form can be concatenated along axis 0: they leave out the same
            inputs and agree in every other dimension.
        arrived_ns: on `time.perf_counter_ns`'s clock.
        priority: 1 is the most urgent; 0 takes the model's default.
        timeout_us: how long the caller lets it wait; 0 takes the queue's own.
        sequence: None for a request that stands alone.
    """

    feeds: Sequence[Array | None]
    rows: int
    form: Hashable
    arrived_ns: int
    priority: int
    timeout_us: int
    sequence: SequenceControl | None

    @property
    def is_abandoned(self) -> bool:
        """Nobody waits for the answer any more."""

    def answer(self, outputs: Sequence[Array], *, is_final: bool = True) -> None:
        """Give the caller its rows, one array per output of the signature.

        A decoupled model may answer any number of times; each time but the last is not final,
        and an empty sequence of outputs ends the answers without adding one.
        """

    def refuse(self, error: Exception) -> None:
        """Tell the caller why there is no answer; of no effect once there is one."""


R_contra = TypeVar("R_contra", bound=Request, contravariant=True)


class Scheduler(Protocol[R_contra]):
    """Answers for one model version; every submitted request gets its answer or a refusal.

    Attributes:
        statistics: of the version since it was loaded.
    """

    statistics: Statistics

    @property
    def waiting(self) -> int:
        """Requests in its queues."""

    @property
    def is_drained(self) -> bool:
        """Closed, and every request that was taken on has its answer."""

    def submit(self, requests: Sequence[R_contra]) -> None:
        """Answer requests, now or later from another thread; never waits long, never raises."""

    def close(self) -> None:
        """Take on nothing new (a late request is still answered) and end when all are answered."""
