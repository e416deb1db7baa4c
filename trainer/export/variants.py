"""The graph in lower precision, proved on its own: smaller, often faster, never quite the same."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
from torch import nn

from trainer.data.dataset import Array, Dataset
from trainer.export.graph import forget_source
from trainer.export.half_precision import to_half_precision
from trainer.export.operators import HEAVY, heavy_nodes, read_outs
from trainer.export.parity import (
    Parity,
    in_batches,
    measure_parity,
    probes,
    run_onnx,
    served_metrics,
)
from trainer.recipes.task import Task
from wintergarden.errors import DataLoss, FailedPrecondition, InvalidArgument, Unsupported
from wintergarden.runtime import RuntimeOptions, Session, open_session
from wintergarden.runtime.quantization import quantize
from wintergarden.store.golden import replay

MAX_SCORE_LOSS = 0.01
"""How far a variant's score on the held-out examples may be below that of fp32: accuracy, as a
share of the examples, or what else the task is judged by."""
CALIBRATION_ROWS, CALIBRATION_BATCH = 512, 32
# Other processors and CUDA add in another order, where lower precision rounds otherwise.
HEADROOM = 2.0
MIN_TOLERANCE = 1e-3

# Quantised where what they are fed is quantised already; they move values, or bound them.
_PASSING = ("Clip", "Flatten", "MaxPool", "Relu", "Reshape", "Squeeze", "Transpose", "Unsqueeze")
_TIMED_ROWS = 32
_TIMED_ROUNDS = 15


class VariantRefused(FailedPrecondition):
    """A variant cannot be made, or is not good enough to be published."""


@dataclass(frozen=True)
class Variant:
    """A graph that may be published beside the one in fp32.

    Attributes:
        precision: fp16 or int8.
        content: the ONNX file.
        parity: with the network, on real and extreme inputs.
        tolerance: for its golden replay: the largest absolute difference.
        metrics: the score on the held-out examples, size, speed; named as in the manifest.
    """

    precision: str
    content: bytes
    parity: Parity
    tolerance: float
    metrics: dict[str, float]


@dataclass(frozen=True)
class Exported:
    """The graph in fp32, and what its variants are held to.

    Attributes:
        served: the network, in eval mode.
        model: its graph.
        session: of the graph.
        golden: content of `golden.npz`.
        task: that it does.
        metrics: of the graph, on the held-out examples.
        tolerance: for its golden replay: the largest absolute difference.
    """

    served: nn.Module
    model: onnx.ModelProto
    session: Session
    golden: bytes
    task: Task
    metrics: dict[str, float]
    tolerance: float


def make_variant(precision: str, exported: Exported, dataset: Dataset) -> Variant:
    """Makes a variant and proves it.

    Args:
        precision: fp16 or int8.
        exported: the graph in fp32.
        dataset: its training examples calibrate, its held-out ones judge.

    Raises:
        VariantRefused: saying why.
    """
    try:
        return _prove(precision, _MAKERS[precision](exported, dataset), exported, dataset)
    except (DataLoss, InvalidArgument, Unsupported) as error:
        raise VariantRefused(f"variant {precision} is left out: {error.message}") from error


def _prove(precision: str, model: onnx.ModelProto, exported: Exported, dataset: Dataset) -> Variant:
    forget_source(model)
    onnx.checker.check_model(model, full_check=True)
    content = model.SerializeToString(deterministic=True)
    session = open_session(content, RuntimeOptions(device="cpu"))
    held_out = dataset.test
    on_held_out = measure_parity(exported.served, session, in_batches(held_out.inputs))
    parity = on_held_out.with_those_of(measure_parity(exported.served, session, probes(dataset)))
    tolerance = max(MIN_TOLERANCE, HEADROOM * max(on_held_out.absolute.values()))
    # As whoever loads the variant will do: what would be refused there is not published here.
    replay(lambda feeds: _run(session, feeds), exported.golden, tolerance)
    score = exported.task.score
    measured = served_metrics(session, exported.task, held_out)[score]
    if exported.metrics[score] - measured > MAX_SCORE_LOSS:
        raise DataLoss(
            f"its {score} on the held-out examples is {measured:.4f}, that of fp32 "
            f"{exported.metrics[score]:.4f}; at most {MAX_SCORE_LOSS:g} may be lost"
        )
    metrics = {
        "bytes": float(len(content)),
        "export_parity": on_held_out.worst,
        "speedup": _speedup(exported.session, session, held_out.inputs[:_TIMED_ROWS]),
        f"test_{score}": measured,
    }
    named = {f"{name}_{precision}": value for name, value in metrics.items()}
    return Variant(precision, content, parity, tolerance, named)


def _half(exported: Exported, _: Dataset) -> onnx.ModelProto:
    return to_half_precision(exported.model)


def _int8(exported: Exported, dataset: Dataset) -> onnx.ModelProto:
    graph = exported.model.graph
    # What an answer is read from stays in float: 256 levels would make ties between classes.
    excluded = read_outs(graph)
    if not heavy_nodes(graph) - excluded:
        raise Unsupported("nothing to quantise: the only weights are those of the read-out")
    name = exported.session.inputs[0].name
    examples = dataset.train.inputs[:CALIBRATION_ROWS]
    content = quantize(
        exported.model.SerializeToString(),
        [{name: part} for part in in_batches(examples, CALIBRATION_BATCH)],
        operators={*HEAVY, *_PASSING},
        excluded=excluded,
    )
    return onnx.load_from_string(content)


_MAKERS: dict[str, Callable[[Exported, Dataset], onnx.ModelProto]] = {
    "fp16": _half,
    "int8": _int8,
}


def _run(session: Session, feeds: dict[str, Array]) -> dict[str, Array]:
    (inputs,) = feeds.values()
    return run_onnx(session, inputs)


def _speedup(reference: Session, session: Session, inputs: Array) -> float:
    """How many times faster than the reference it is; turn by turn, since machines vary."""
    feeds = {session.inputs[0].name: inputs}

    def seconds(timed: Session) -> float:
        started = time.perf_counter()
        timed.run(feeds)
        return time.perf_counter() - started

    pairs = [(seconds(reference), seconds(session)) for _ in range(_TIMED_ROUNDS)]
    return float(np.median([slow / max(fast, 1e-9) for slow, fast in pairs]))
