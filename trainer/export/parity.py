"""Proves that an exported graph computes what PyTorch computes, before anybody may see it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from trainer.data.dataset import Array, Dataset, Split
from trainer.export.graph import variable_axes
from trainer.recipes.task import LOGITS, PROBABILITIES, Task
from wintergarden.errors import DataLoss
from wintergarden.runtime import Session

BATCHES = (1, 2, 7)
TOLERANCE = 1e-4
ROWS = 256
"""Of a run over many examples: a data set's worth of activations need not fit into memory."""
EXTREME = 10.0  # how many ranges of a feature beyond its range are tried

Outputs = dict[str, Array]


@dataclass
class Parity:
    """The largest differences found so far, by output.

    Attributes:
        relative: to the largest output of a batch where that exceeds 1.
        absolute: what golden outputs are compared by.
    """

    relative: dict[str, float] = field(default_factory=dict)
    absolute: dict[str, float] = field(default_factory=dict)

    @property
    def worst(self) -> float:
        """Over all outputs, relative."""
        return max(self.relative.values(), default=0.0)

    def with_those_of(self, other: Parity) -> Parity:
        """The larger of both, by output."""
        return Parity(
            {n: max(self.relative.get(n, 0.0), d) for n, d in other.relative.items()},
            {n: max(self.absolute.get(n, 0.0), d) for n, d in other.absolute.items()},
        )

    def add(self, name: str, expected: Array, got: Array) -> float:
        """Takes one more answer into account; its relative difference, NaN where it has any."""
        with np.errstate(invalid="ignore"):  # infinity less infinity
            absolute = float(np.abs(expected - got).max(initial=0.0))
        relative = absolute / max(1.0, float(np.abs(expected).max(initial=0.0)))
        self.absolute[name] = float(np.fmax(self.absolute.get(name, 0.0), absolute))
        self.relative[name] = float(np.fmax(self.relative.get(name, 0.0), relative))
        return relative


def run_torch(served: nn.Module, inputs: Array) -> Outputs:
    """What PyTorch answers, by the names of what is served."""
    with torch.no_grad():
        answers = served(torch.from_numpy(inputs))
    names = getattr(served, "outputs", (LOGITS, PROBABILITIES))
    return {name: answer.numpy() for name, answer in zip(names, answers, strict=True)}


def run_onnx(session: Session, inputs: Array) -> Outputs:
    """What ONNX Runtime answers."""
    names = [output.name for output in session.outputs]
    return dict(zip(names, session.run({session.inputs[0].name: inputs}), strict=True))


def in_batches(inputs: Array, rows: int = ROWS) -> list[Array]:
    """The same examples (N, …), so many at a time; views, not copies."""
    return [inputs[start : start + rows] for start in range(0, len(inputs), rows)]


def served_metrics(session: Session, task: Task, split: Split) -> dict[str, float]:
    """What the task measures of a graph, over a part of the data.

    Raises:
        DataLoss: an answer is not finite.
    """
    tally = None
    for start in range(0, len(split), ROWS):
        rows = slice(start, start + ROWS)
        answers = run_onnx(session, split.inputs[rows])
        if not np.isfinite(answers[task.outputs[0]]).all():
            raise DataLoss("the exported graph answers values that are not finite")
        part = task.served_tally(answers, split.labels[rows])
        tally = part if tally is None else tally + part
    if tally is None:
        raise DataLoss("there are no held-out examples to judge the graph by")
    return task.metrics(tally, len(split))


def real_probes(inputs: Array, example_shape: Sequence[int]) -> list[Array]:
    """Real inputs in every size that matters: several batches, and lengths where they may vary.

    Exporters have frozen dimensions at the size of their example, or at 1.

    Args:
        inputs: (N, …).
        example_shape: of one example; -1 is an axis whose length may vary.
    """
    axes = variable_axes(example_shape)
    lengths = [sorted({1, inputs.shape[axis] // 2 or 1, inputs.shape[axis]}) for axis in axes]
    found = []
    for batch, *cuts in itertools.product(BATCHES, *lengths):
        probe = inputs[:batch]
        for axis, length in zip(axes, cuts, strict=True):
            probe = probe.take(range(length), axis=axis)
        found.append(probe)
    return found


def probes(dataset: Dataset) -> list[Array]:
    """Inputs to compare on: real ones of several sizes, and what no data set holds.

    Optimisers of exported graphs have dropped small constants, which all-zero, constant and
    extreme inputs show.
    """
    one = dataset.test.inputs[:1]
    low, high = _limits(dataset)
    alternating = np.where(np.arange(one.size).reshape(one.shape) % 2, low, high)
    rows = [np.asarray(0.0), np.asarray(1.0), low, high, (low + high) / 2, alternating]
    strange = [np.broadcast_to(row, one.shape).astype(one.dtype) for row in rows]
    real = real_probes(dataset.test.inputs, dataset.info.input_shape)
    return [*real, *strange, np.concatenate(strange)]


def _limits(dataset: Dataset) -> tuple[Array, Array]:
    """The lowest and highest values worth trying; for tables, well beyond those of each feature."""
    if dataset.info.value_range is not None:
        low, high = dataset.info.value_range
        return np.asarray(low), np.asarray(high)
    lows, highs = dataset.train.inputs.min(axis=0), dataset.train.inputs.max(axis=0)
    beyond = EXTREME * (highs - lows)
    return lows - beyond, highs + beyond


def measure_parity(served: nn.Module, session: Session, inputs: Iterable[Array]) -> Parity:
    """How far the graph's answers are from the network's.

    Raises:
        DataLoss: an answer is not finite where the network's is.
    """
    parity = Parity()
    for batch in inputs:
        expected, got = run_torch(served, batch), run_onnx(session, batch)
        for name, values in expected.items():
            if not np.isfinite(parity.add(name, values, got[name])):
                raise DataLoss(
                    f"output {name!r} is not finite on inputs of shape {list(batch.shape)}"
                )
    return parity


def check_parity(served: nn.Module, session: Session, dataset: Dataset) -> Parity:
    """Holds the graph to the network on every probe.

    Raises:
        DataLoss: a difference is larger than the tolerance, or an output is not finite.
    """
    parity = Parity()
    for inputs in probes(dataset):
        expected, got = run_torch(served, inputs), run_onnx(session, inputs)
        for name, values in expected.items():
            difference = parity.add(name, values, got[name])
            if not difference <= TOLERANCE:
                raise DataLoss(
                    f"the exported graph is not the network: output {name!r} differs by "
                    f"{difference:.3g} on inputs of shape {list(inputs.shape)}; at most "
                    f"{TOLERANCE:.3g} is allowed"
                )
    return parity
