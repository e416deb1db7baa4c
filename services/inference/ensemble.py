"""Answers requests to an ensemble by requests to the models it is composed of.

Everything happens in answers: a step is submitted by the thread that brought the last of its
inputs, so that no thread ever waits for a step. Arrays are handed on as they are. The composing
models' own schedulers batch the steps of many requests.

Knows no transport and no ONNX.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic

from services.inference.batching import R
from services.inference.ensemble_plan import EnsemblePlan
from services.inference.repository import Model
from services.inference.statistics import Statistics


class Ensemble(Generic[R]):
    """Triton's ensemble scheduler."""

    def __init__(self, plan: EnsemblePlan, resolve: Callable[[str, str], Model]) -> None:
        """`resolve` finds a composing model as it is served at that moment, by name and version.

        Raises:
            InvalidArgument: the plan does not fit the composing models, or the ensemble is
                itself a part of one of them.
            NotFound: there is no such model.
            Unavailable: a model is not served now.
        """
        self.plan = plan
        self.statistics = Statistics()
        self._resolve = resolve

    @property
    def waiting(self) -> int:
        """Requests that have not begun."""
        return 0

    @property
    def is_drained(self) -> bool:
        """Closed, and every request has its answer."""
        return True

    def submit(self, requests: Sequence[R]) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """A late request is still answered."""
