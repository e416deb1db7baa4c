"""What a freshly opened session can do: whether its rows are independent, and how long it takes.

An ONNX graph does not say whether axis 0 counts examples: it may count time steps, or a layer
may mix the examples of a batch (normalisation over the batch, dynamic quantisation). Requests of
strangers share a run only after the answers have been seen not to depend on company.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from time import perf_counter

import numpy as np

from services.inference.scheduling.scheduler import Array
from wintergarden.runtime import TensorSpec
from wintergarden.wire.tensors import dtype_of

Feeds = Mapping[str, Array]
Run = Callable[[Feeds], list[Array]]

# How long the sizes between the powers of two may be warmed up, all together.
_BETWEEN_S = 1.0
# Stands for every size that the graph leaves open, beside the rows.
_OPEN_SIZE = 8
_LONG_RUN_S = 0.25
# How far an answer may differ with company, relative to the output's largest value: sums are
# taken in another order. Dynamic quantisation differs by 1e-2.
_RTOL = 1e-4
_RTOL_HALF = 1e-2
_REPEATS = 3
_PLAIN_RUN_S = 0.005  # its first run tells enough


def example(inputs: Sequence[TensorSpec], seed: int = 0) -> Feeds:
    """One row for each input: random, and small enough to be an index into any table.

    What may be left out is left out: it may be a weight, of which the model has a better one.
    """
    rng = np.random.default_rng(seed)
    return {spec.name: _random(spec, rng) for spec in inputs if not spec.is_optional}


def first_row(inputs: Sequence[TensorSpec], feeds: Feeds) -> Feeds:
    """The first row of recorded inputs; all of an input whose size is fixed."""
    return {
        s.name: feeds[s.name][:1] if _is_open(s) else feeds[s.name]
        for s in inputs
        if s.name in feeds
    }


def company_matters(
    run: Run,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    row: Feeds,
    *,
    compares_values: bool = True,
) -> str:
    """Why requests cannot share a run, or nothing when they can.

    Args:
        run: the session.
        inputs: of the graph.
        outputs: of the graph.
        row: one example of every input.
        compares_values: False trusts that rows do not depend on one another, and looks only
            whether axis 0 counts them.
    """
    fixed = [s.name for s in (*inputs, *outputs) if not _is_open(s) and not s.is_optional]
    if fixed:
        return f"axis 0 of {', '.join(map(repr, fixed))} has a fixed size"
    other = {name: _stranger(array) for name, array in row.items()}
    company = (row, other, row)
    try:
        alone = [run(feeds) for feeds in company]
        together = run({name: np.concatenate([f[name] for f in company]) for name in row})
    except Exception as error:
        return f"it could not be tried: {error}"
    for i, spec in enumerate(outputs):
        for k, answers in enumerate(alone):
            if together[i].shape[:1] != (len(company),) or len(answers[i]) != 1:
                return f"axis 0 of output {spec.name!r} does not count rows"
            if compares_values and not _agree(together[i][k : k + 1], answers[i]):
                return f"output {spec.name!r} of a row depends on the other rows of the batch"
    return ""


def run_times(
    run: Run,
    row: Feeds,
    max_rows: int,
    preferred: Collection[int] = (),
    *,
    warms_all: bool = False,
) -> dict[int, float]:
    """Seconds of a run by number of rows; warms up as it goes.

    Sizes are 1, 2, 4 … `max_rows` and the preferred ones. Ends early once runs are long: what
    takes that long has nothing left to warm up.

    Args:
        run: the session.
        row: one example of every input.
        max_rows: of one run; with 0 the row is run as it is.
        preferred: more sizes to measure.
        warms_all: run the sizes between them too, as far as a second takes it. A CUDA device
            looks for algorithms at each new size; a CPU's first run at one takes 30 µs longer
            than its next, which nobody notices.
    """
    if not max_rows:
        return {1: _time(run, row)}
    times: dict[int, float] = {}
    for rows in _measured(max_rows, preferred):
        times[rows] = _time(run, _rows(row, rows))
        if times[rows] > _LONG_RUN_S:
            return times
    until = perf_counter() + _BETWEEN_S
    for rows in range(1, max_rows if warms_all else 1):
        if rows not in times:
            run(_rows(row, rows))
            if perf_counter() > until:
                break
    return times


def _measured(max_rows: int, preferred: Collection[int]) -> list[int]:
    powers = {2**k for k in range(max_rows.bit_length()) if 2**k <= max_rows}
    return sorted({*powers, *(n for n in preferred if n <= max_rows), max_rows})


def _rows(row: Feeds, rows: int) -> Feeds:
    return {name: np.concatenate([array] * rows) for name, array in row.items()}


def _time(run: Run, feeds: Feeds) -> float:
    """The best of a few runs after the first, or the first where it is long."""
    seconds = _once(run, feeds)
    if seconds > _PLAIN_RUN_S:
        return seconds
    return min(_once(run, feeds) for _ in range(_REPEATS))


def _once(run: Run, feeds: Feeds) -> float:
    started = perf_counter()
    run(feeds)
    return perf_counter() - started


def _is_open(spec: TensorSpec) -> bool:
    return bool(spec.shape) and spec.shape[0] == -1


def _random(spec: TensorSpec, rng: np.random.Generator) -> Array:
    sizes = [_OPEN_SIZE if size < 0 else size for size in spec.shape]
    if _is_open(spec):
        sizes[0] = 1
    dtype = dtype_of(spec.datatype, spec.name)
    if dtype.kind == "O":
        return np.full(sizes, b"0", object)
    if dtype.kind in "iub":
        return rng.integers(0, 2, sizes).astype(dtype)
    return rng.random(sizes).astype(dtype)


def _stranger(array: Array) -> Array:
    """Another row: the values backwards, which suits tokens too; numbers in another range.

    Where that is no other row, zeros become ones, and everything else zero.
    """
    other = np.flip(array)
    if array.dtype.kind == "f":
        other = other * array.dtype.type(3)
    if not np.array_equal(other, array):
        return other
    zero, one = (b"0", b"1") if array.dtype.kind == "O" else (0, 1)
    return np.where(array == zero, one, zero).astype(array.dtype)


def _agree(got: Array, expected: Array) -> bool:
    if got.shape != expected.shape:
        return False
    if got.dtype.kind not in "fcV":  # V: bfloat16
        return bool(np.array_equal(got, expected))
    left, right = got.astype(np.float64), expected.astype(np.float64)
    rtol = _RTOL if got.dtype.itemsize > 2 else _RTOL_HALF
    scale = float(np.max(np.abs(right), initial=0.0, where=np.isfinite(right)))
    return bool(np.allclose(left, right, rtol=0, atol=rtol * scale, equal_nan=True))
