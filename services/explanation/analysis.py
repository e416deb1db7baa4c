"""What served models cost, beside what they are worth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import onnx

from services.explanation.cache import ByteBoundedCache
from services.explanation.complexity import Complexity, complexity
from wintergarden.errors import InvalidArgument, WintergardenError
from wintergarden.store import Manifest, ModelStore
from wintergarden.store.names import MODEL

LENGTH = 32
MAX_LENGTH = 100_000
MAX_MODELS = 500
QUALITIES = ("test_accuracy", "test_mean_iou", "test_r2")
"""Metrics that say how good a model is from 0 to 1, the first that there is."""


@dataclass(frozen=True)
class Measured:
    """A version, and what the inference service measured of it; zero where it did not.

    Attributes:
        latency_ms: Of a request of one row.
        rows_per_s: In requests of many.
        length: Of axes left open, other than the rows; 0: as the request says.
    """

    model: str
    version: int = 0
    latency_ms: float = 0.0
    rows_per_s: float = 0.0
    length: int = 0


@dataclass(frozen=True)
class Analysis:
    """One version.

    Attributes:
        quality_metric: Which of `QUALITIES`; empty if the manifest has none.
        problem: Why nothing was counted; empty if it was.
        length: Of axes left open.
        has_open_axes: Other than the rows, so that the cost depends on the length.
    """

    manifest: Manifest
    measured: Measured
    cost: Complexity
    quality_metric: str = ""
    quality: float = 0.0
    problem: str = ""
    length: int = LENGTH
    has_open_axes: bool = False


class Analyst:
    """Counts each graph once."""

    def __init__(self, store: ModelStore, cache: ByteBoundedCache) -> None:
        self._store = store
        self._cache = cache

    def analyse(
        self, models: Sequence[Measured], length: int, checkpoint: Callable[[], None]
    ) -> list[Analysis]:
        """Each version, in the order given.

        Args:
            models: Which.
            length: Of axes left open, other than the rows; 0: `LENGTH`.
            checkpoint: Called before each; raises to end the work.

        Raises:
            InvalidArgument: too many models, or a length that means nothing.
            NotFound: no such model or version.
        """
        if not 1 <= len(models) <= MAX_MODELS:
            raise InvalidArgument(f"{len(models)} models; 1 to {MAX_MODELS} are allowed", "models")
        for asked in (length, *(measured.length for measured in models)):
            if not 0 <= asked <= MAX_LENGTH:
                raise InvalidArgument(f"length={asked}: 0 (default) to {MAX_LENGTH}", "length")
        analyses = []
        for measured in models:
            checkpoint()
            analyses.append(self._analyse(measured, measured.length or length or LENGTH))
        return analyses

    def _analyse(self, measured: Measured, length: int) -> Analysis:
        number = measured.version or self._store.latest_version(measured.model)
        artefact = self._store.fetch(measured.model, number)
        manifest = artefact.manifest

        def count() -> tuple[Complexity, int]:
            return complexity(onnx.load_model_from_string(artefact.read(MODEL)), length=length), 1

        cost, problem = Complexity(0, 0, 0, 0), ""
        try:
            cost = self._cache.get(("complexity", manifest.digest, length), count)
        except WintergardenError as error:
            problem = str(error)
        metric = next((name for name in QUALITIES if name in manifest.metrics), "")
        quality = manifest.metrics.get(metric, 0.0)
        has_open_axes = any(size < 0 for tensor in manifest.inputs for size in tensor.shape[1:])
        return Analysis(manifest, measured, cost, metric, quality, problem, length, has_open_axes)
