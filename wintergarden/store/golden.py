"""Golden outputs: what the network answered where it was trained, replayed where it is served."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wintergarden.errors import DataLoss
from wintergarden.store.arrays import Array, pack, unpack

MAX_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Golden:
    """One call of the network: arrays by the names of the graph's inputs and outputs."""

    inputs: dict[str, Array]
    outputs: dict[str, Array]


def write_golden(inputs: Mapping[str, Array], outputs: Mapping[str, Array]) -> bytes:
    """The content of `golden.npz`."""
    return pack(
        {f"inputs/{name}": array for name, array in inputs.items()}
        | {f"outputs/{name}": array for name, array in outputs.items()}
    )


def read_golden(source: Path | bytes) -> Golden:
    """Reads `golden.npz`.

    Raises:
        DataLoss: it is none.
    """
    arrays = unpack(source, MAX_BYTES)
    golden = Golden(
        inputs={k.removeprefix("inputs/"): a for k, a in arrays.items() if k.startswith("inputs/")},
        outputs={
            k.removeprefix("outputs/"): a for k, a in arrays.items() if k.startswith("outputs/")
        },
    )
    if not golden.inputs or not golden.outputs:
        raise DataLoss("golden.npz has no inputs or no outputs")
    return golden


def replay(
    run: Callable[[dict[str, Array]], Mapping[str, Array]], source: Path | bytes, tolerance: float
) -> float:
    """Runs the golden inputs and compares.

    Args:
        run: arrays by input name → arrays by output name.
        source: `golden.npz`.
        tolerance: the largest absolute difference allowed; NaN and infinity equal themselves.

    Returns:
        The largest absolute difference.

    Raises:
        DataLoss: an output is missing, has another shape or differs by more.
    """
    golden = read_golden(source)
    return compare(run(golden.inputs), golden, tolerance)


def compare(answers: Mapping[str, Array], golden: Golden, tolerance: float) -> float:
    """Holds answers to the golden outputs; see `replay`."""
    worst = 0.0
    for name, expected in golden.outputs.items():
        if name not in answers:
            raise DataLoss(f"golden output {name!r} is missing; got {', '.join(answers)}")
        got = answers[name]
        if got.shape != expected.shape:
            raise DataLoss(
                f"golden output {name!r} has shape {list(expected.shape)}, got {list(got.shape)}"
            )
        difference = _difference(expected, got)
        if not difference <= tolerance:
            raise DataLoss(
                f"golden output {name!r} differs by {difference:.3g}; at most {tolerance:.3g} is "
                "allowed"
            )
        worst = max(worst, difference)
    return worst


def _difference(expected: Array, got: Array) -> float:
    if expected.dtype.kind in "SUO":
        return 0.0 if np.array_equal(expected.astype(object), got.astype(object)) else math.inf
    wide, other = expected.astype(np.float64), got.astype(np.float64)
    differs = ~((wide == other) | (np.isnan(wide) & np.isnan(other)))
    if not differs.any():
        return 0.0
    worst = float(np.abs(wide[differs] - other[differs]).max())
    return math.inf if math.isnan(worst) else worst
