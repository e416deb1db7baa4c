"""Interpolation: a matrix for each axis, read off by letting the operator resize the identity."""

from __future__ import annotations

import numpy as np

from services.explanation.backprop.operation import Operation
from services.explanation.backprop.rules import Gradients, RuleTable
from services.explanation.backprop.values import Value

rules = RuleTable()

KEPT = (
    *("mode", "nearest_mode", "coordinate_transformation_mode", "cubic_coeff_a"),
    *("exclude_outside", "extrapolation_value", "antialias"),
)


@rules("Resize")
def resize(op: Operation, g: Value) -> Gradients:
    """All modes are linear in x and act on one axis after the other, so the transposes do too."""
    if op.attribute("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise op.refusal("keep_aspect_ratio_policy; export it with the sizes that come out")
    if op.attribute("coordinate_transformation_mode") == "tf_crop_and_resize":
        raise op.refusal("tf_crop_and_resize (regions of interest)")
    for place, axis in enumerate(_axes(op)):
        if not _is_untouched(op, place, axis):
            others = [a for a in range(op.inputs[0].rank) if a != axis]
            last = [*others, axis]
            product = g.transpose(last) @ _matrix(op, place, axis).transpose([1, 0])
            g = product.transpose([int(i) for i in np.argsort(last)])
    return [g, *[None] * (len(op.inputs) - 1)]


def _axes(op: Operation) -> list[int]:
    axes = op.attribute("axes", range(op.inputs[0].rank))
    return [op.normalised_axis(axis) for axis in axes]


def _is_untouched(op: Operation, place: int, axis: int) -> bool:
    """Whether constant scales say so, or the lengths before and after where sizes are given."""
    scales = op.constant(2)
    if scales is not None and scales.size:
        return bool(scales[place] == 1)
    before, after = op.inputs[0].shape, op.outputs[0].shape
    if not op.has_input(3) or before is None or after is None:
        return False
    return before[axis] is not None and before[axis] == after[axis]


def _matrix(op: Operation, place: int, axis: int) -> Value:
    """[length before, length after]: the resized rows of an identity."""
    x, build = op.inputs[0], op.build
    length = x.dims(axis, axis + 1)
    ones = build.emit("Expand", x.like(1), build.concat([length, length]))
    identity = build.emit("EyeLike", ones)
    attributes = {k: v for k in KEPT if (v := op.attribute(k)) is not None}
    nothing = Value(build, "")
    window = (build.integers([place]), build.integers([place + 1]), build.integers([0]))
    if op.has_input(3):
        size = build.emit("Slice", op.inputs[3], *window)
        sizes = build.concat([length, size])
        return build.emit("Resize", identity, nothing, nothing, sizes, **attributes)
    scale = build.emit("Slice", op.inputs[2], *window)
    scales = build.concat([build.constant(np.ones(1, np.float32)), scale])
    return build.emit("Resize", identity, nothing, scales, **attributes)
