"""What served models cost, measured by the service that serves them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from wintergarden.client.answers import ModelIdentity, Picture, identity, pictures
from wintergarden.client.call import Call, Flow
from wintergarden.wire import explanation_pb2 as pb
from wintergarden.wire.pool import methods

_ANALYSE = methods("wintergarden.v1.ExplanationService")["AnalyseModels"]


@dataclass(frozen=True)
class Measured:
    """A version to be analysed, and what was measured of it; zeros where nothing was.

    `latency_ms` is of a request of one row, `rows_per_s` of requests of many; `version` 0 is the
    latest; `length` is of axes left open, 0 for that of the call. The same model with several
    lengths is a sweep, which the chart shows.
    """

    model: str
    version: int = 0
    latency_ms: float = 0.0
    rows_per_s: float = 0.0
    length: int = 0


@dataclass(frozen=True)
class Analysis:
    """What one version costs for one row, and what it is worth.

    `operations` counts a multiplication with its addition as two; `peak_activation_bytes` are
    needed at the same time; `uncounted` are operators whose shapes depend on the data; `quality`
    is the manifest's `quality_metric`, where it has one; `problem` says why nothing was counted;
    where it `has_open_axes` other than the rows, the numbers are those of this `length`.
    """

    model: ModelIdentity
    architecture: str
    task: str
    parameters: int
    operations: int
    activation_bytes: int
    peak_activation_bytes: int
    uncounted: tuple[str, ...]
    quality_metric: str
    quality: float
    latency_ms: float
    rows_per_s: float
    problem: str
    length: int = 0
    has_open_axes: bool = False


@dataclass(frozen=True, eq=False)
class Analyses:
    """The models in the order asked for, and the chart where it was asked for."""

    models: tuple[Analysis, ...]
    pictures: tuple[Picture, ...]


def analyse(
    models: Sequence[Measured | str],
    *,
    length: int = 0,
    render: bool = False,
    timeout_s: float = 300.0,
) -> Flow[Analyses]:
    """Count what models cost.

    Args:
        models: names, or what was measured of them, which comes back with the rest.
        length: of axes that a model leaves open, other than the rows; 0: 32.
        render: also return the chart.
        timeout_s: for the answer, retries included.
    """
    asked = [m if isinstance(m, Measured) else Measured(m) for m in models]
    request = pb.AnalyseModelsRequest(
        models=[
            pb.AnalyseModelsRequest.Measured(
                model_name=m.model,
                model_version=m.version,
                latency_ms=m.latency_ms,
                rows_per_s=m.rows_per_s,
                length=m.length,
            )
            for m in asked
        ],
        length=length,
        render=render,
    )
    response = yield Call(_ANALYSE, request, timeout_s)
    return Analyses(
        tuple(
            Analysis(
                model=identity(m),
                architecture=m.architecture,
                task=m.task,
                parameters=m.parameters,
                operations=m.operations,
                activation_bytes=m.activation_bytes,
                peak_activation_bytes=m.peak_activation_bytes,
                uncounted=tuple(m.uncounted),
                quality_metric=m.quality_metric,
                quality=m.quality,
                latency_ms=m.latency_ms,
                rows_per_s=m.rows_per_s,
                problem=m.problem,
                length=m.length,
                has_open_axes=m.has_open_axes,
            )
            for m in response.models
        ),
        pictures(response),
    )
