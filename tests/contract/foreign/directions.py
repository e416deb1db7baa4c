"""The oracle for models whose framework is not here: central differences along random directions.

For a network of piecewise smooth parts the derivative along d is (f(x + h d) − f(x − h d)) / 2h
within O(h²), but where a rectifier or a maximum turns between the two points, and within the
rounding of float32 (1e-7 of f) over h. The first wants a small step, the second a large one, and
which is best depends on the direction: so three steps are tried, in units of the input's root mean
square (in tables of each column's spread), and the nearest of the three counts. Of 32 directions
the median must be within 2 %: with a gradient that lacks a branch, a factor or a transposition it
is off by tens of per cent. Inputs must lie away from ties, where a maximum has no derivative, and
from saturated probabilities, where there is nothing to measure.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import onnxruntime

from services.explanation.backprop import cotangent_name, differentiate, gradient_name

COUNT = 32
STEPS = (2e-3, 3e-4, 5e-5)
"""In units of the root mean square, or of the spread."""

MEDIAN_ERROR = 0.02


def session_of(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(model.SerializeToString(), options)


def median_error(
    model: onnx.ModelProto,
    wrt: str,
    output: str,
    feeds: Mapping[str, np.ndarray],
    *,
    spread: np.ndarray | None = None,
    steps: tuple[float, ...] = STEPS,
    batch: int = 8,
    seed: int = 0,
) -> float:
    """Of the slopes of Σ cotangent · output along `COUNT` directions, as a share of each.

    Args:
        model: What is differentiated.
        wrt: One of its inputs.
        output: One of its float outputs.
        feeds: One row of each input; those without a row axis are as they are.
        spread: How far each element usually varies, of a row's shape; None: the input's root mean
            square, for all alike.
        steps: In units of the spread.
        batch: Rows that are run at once; 1 for a model whose rows cannot be many.
        seed: Of the directions and the cotangent.
    """
    rng = np.random.default_rng(seed)
    x = feeds[wrt].astype(np.float64)
    forward, backward = session_of(model), session_of(differentiate(model, wrt, output=output))
    (value,) = forward.run([output], dict(feeds))
    cotangent = rng.standard_normal(value.shape).astype(np.float32)
    (slope,) = backward.run([gradient_name(wrt)], {**feeds, cotangent_name(output): cotangent})
    assert slope.shape == x.shape
    assert np.isfinite(slope).all()
    assert np.abs(slope).max() > 0

    unit = np.sqrt((x**2).mean()) if spread is None else spread
    directions = unit * rng.standard_normal((COUNT, *x.shape))
    told = (directions * slope).reshape(COUNT, -1).sum(axis=1)

    def along(step: float) -> np.ndarray:
        """Measured, [COUNT]."""
        points = np.concatenate([x + step * directions, x - step * directions])
        parts = [points[start : start + batch] for start in range(0, len(points), batch)]
        answers = [_run(forward, output, wrt, feeds, part) for part in parts]
        values = [
            (answer.astype(np.float64) * cotangent).reshape(len(part), -1).sum(axis=1)
            for part, answer in zip(parts, answers, strict=True)
        ]
        up, down = np.split(np.concatenate(values), 2)
        return (up - down) / (2 * step)

    measured = np.stack([along(step) for step in steps])
    errors = np.abs(told - measured) / np.maximum(np.abs(measured), 1e-12)
    return float(np.median(errors.min(axis=0)))


def _run(
    session: onnxruntime.InferenceSession,
    output: str,
    wrt: str,
    feeds: Mapping[str, np.ndarray],
    points: np.ndarray,
) -> np.ndarray:
    """The output at points [n, 1, …], their rows joined."""
    if len(points) == 1:
        return session.run([output], {**feeds, wrt: points[0].astype(np.float32)})[0]
    rows = points.reshape(-1, *points.shape[2:]).astype(np.float32)
    others = {n: np.repeat(a, len(rows), 0) for n, a in feeds.items() if n != wrt}
    return session.run([output], {**others, wrt: rows})[0]
