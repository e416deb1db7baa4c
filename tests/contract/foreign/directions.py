"""The oracle for models whose framework is not here: central differences along random directions.

For a network of piecewise smooth parts the derivative along d is (f(x + h d) − f(x − h d)) / 2h
within O(h²), but for the directions in which a rectifier or a maximum turns between the two points.
Hence a step of 2e-3 of the input's root mean square (in tables of 2e-3 of each column's spread),
far above the rounding of float32 (1e-7 of f against differences of about 2e-3 of its slope), and
the median over the directions rather than the worst: at most 2 % apart. A backward pass that
forgets a branch, a factor or a transposition is off by tens of per cent in every direction. Inputs
must lie away from ties: a maximum over equal pixels has no derivative at all.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import onnxruntime

from services.explanation.backprop import cotangent_name, differentiate, gradient_name

COUNT = 32
STEP = 2e-3
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
    points = np.concatenate([x + STEP * directions, x - STEP * directions])  # [2 · COUNT, 1, …]
    values = [
        (out.astype(np.float64) * cotangent).reshape(len(out), -1).sum(axis=1)
        for start in range(0, len(points), batch)
        for out in [_run(forward, output, wrt, feeds, points[start : start + batch], batch)]
    ]
    up, down = np.split(np.concatenate(values), 2)
    measured = (up - down) / (2 * STEP)
    told = (directions * slope).reshape(COUNT, -1).sum(axis=1)
    return float(np.median(np.abs(told - measured) / np.maximum(np.abs(measured), 1e-12)))


def _run(
    session: onnxruntime.InferenceSession,
    output: str,
    wrt: str,
    feeds: Mapping[str, np.ndarray],
    points: np.ndarray,
    batch: int,
) -> np.ndarray:
    """The output at points [n, 1, …], their rows joined."""
    if batch == 1:
        return session.run([output], {**feeds, wrt: points[0].astype(np.float32)})[0]
    rows = points.reshape(-1, *points.shape[2:]).astype(np.float32)
    others = {n: np.repeat(a, len(rows), 0) for n, a in feeds.items() if n != wrt}
    return session.run([output], {**others, wrt: rows})[0]
