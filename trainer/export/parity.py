"""Proves that the exported graph computes what PyTorch computes, before anybody may see it."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from trainer.data.dataset import Array, Dataset
from trainer.export.graph import LOGITS, PROBABILITIES
from wintergarden.errors import DataLoss
from wintergarden.runtime import Session

BATCHES = (1, 2, 7)
TOLERANCE = 1e-4
EXTREME = 10.0  # how many ranges of a feature beyond its range are tried

Outputs = dict[str, Array]


def run_torch(served: nn.Module, inputs: Array) -> Outputs:
    """What PyTorch answers: logits and probabilities (N, K)."""
    with torch.no_grad():
        logits, probabilities = served(torch.from_numpy(inputs))
    return {LOGITS: logits.numpy(), PROBABILITIES: probabilities.numpy()}


def run_onnx(session: Session, inputs: Array) -> Outputs:
    """What ONNX Runtime answers."""
    names = [output.name for output in session.outputs]
    return dict(zip(names, session.run({session.inputs[0].name: inputs}), strict=True))


def probes(dataset: Dataset) -> list[Array]:
    """Inputs to compare on: real ones at several batch sizes, and what no data set holds.

    Optimisers of exported graphs have dropped small constants and frozen dimensions; all-zero,
    constant and extreme inputs show the first, several batch sizes the second.
    """
    held_out = dataset.test.inputs
    one = held_out[:1]
    low, high = _limits(dataset)
    alternating = np.where(np.arange(one.size).reshape(one.shape) % 2, low, high)
    rows = [np.asarray(0.0), np.asarray(1.0), low, high, (low + high) / 2, alternating]
    strange = [np.broadcast_to(row, one.shape).astype(np.float32) for row in rows]
    return [*(held_out[:n] for n in BATCHES), *strange, np.concatenate(strange)]


def _limits(dataset: Dataset) -> tuple[Array, Array]:
    """The lowest and highest values worth trying; for tables, well beyond those of each feature."""
    if dataset.info.value_range is not None:
        low, high = dataset.info.value_range
        return np.asarray(low), np.asarray(high)
    lows, highs = dataset.train.inputs.min(axis=0), dataset.train.inputs.max(axis=0)
    beyond = EXTREME * (highs - lows)
    return lows - beyond, highs + beyond


def check_parity(served: nn.Module, session: Session, dataset: Dataset) -> float:
    """The largest difference found, relative to the largest output where that exceeds 1.

    Raises:
        DataLoss: it is larger than the tolerance, or an output is not finite.
    """
    worst = 0.0
    for inputs in probes(dataset):
        expected, got = run_torch(served, inputs), run_onnx(session, inputs)
        for name, values in expected.items():
            scale = max(1.0, float(np.abs(values).max()))
            difference = float(np.abs(values - got[name]).max()) / scale
            if not difference <= TOLERANCE:
                raise DataLoss(
                    f"the exported graph is not the network: output {name!r} differs by "
                    f"{difference:.3g} on inputs of shape {list(inputs.shape)}; at most "
                    f"{TOLERANCE:.3g} is allowed"
                )
            worst = max(worst, difference)
    return worst
