"""The transpose of broadcasting: summing a gradient back to the shape of an operand."""

from __future__ import annotations

import numpy as np

from services.explanation.backprop.values import Dim, Value


def reduce_to(gradient: Value, operand: Value) -> Value:
    """Sum `gradient` over the axes along which `operand` was repeated to get its shape.

    Decided while building where the shapes tell, at run time where a symbolic length may be one.
    """
    if operand.shape is None or gradient.shape is None:
        return _reduce_at_run_time(gradient, operand)
    extra = len(gradient.shape) - len(operand.shape)
    repeated = list(range(extra))
    for axis, (mine, theirs) in enumerate(
        zip(operand.shape, gradient.shape[extra:], strict=True), start=extra
    ):
        if _may_be_repeated(mine, theirs):
            if mine != 1:
                return _reduce_at_run_time(gradient, operand)
            repeated.append(axis)
    if not repeated:
        return gradient
    reduced = gradient.sum(repeated)
    return reduced.reshape_like(operand) if extra else reduced


def _may_be_repeated(mine: Dim, theirs: Dim) -> bool:
    if theirs == 1 or (mine == theirs and mine is not None):
        return False
    return mine == 1 or not isinstance(mine, int)


def _reduce_at_run_time(gradient: Value, operand: Value) -> Value:
    """Sum over each axis on which the operand, padded in front with ones, has length one."""
    build = gradient.builder
    extra = gradient.dims().size() - operand.dims().size()
    leading = build.emit("Expand", build.integers([1]), extra.reshape([1]))
    ones = build.concat([leading, operand.dims()]).equals(build.constant(np.int64(1)))
    axes = build.emit("NonZero", ones, elem_type=operand.dims().elem_type).reshape([-1])
    return gradient.sum(axes).reshape_like(operand)
