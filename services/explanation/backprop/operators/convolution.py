"""Convolutions: the gradient of each is the other with the same weights."""

from __future__ import annotations

from services.explanation.backprop.operation import Operation
from services.explanation.backprop.operators.windows import (
    Window,
    scatter_windows,
    static_lengths,
)
from services.explanation.backprop.rules import Gradients, RuleTable
from services.explanation.backprop.values import Value

rules = RuleTable()


@rules("Conv")
def conv(op: Operation, g: Value) -> Gradients:
    x, weight = op.inputs[:2]
    return [scatter_windows(g, weight, x, Window.of(op, x, weight.shape), op.attribute("group", 1))]


@rules("ConvTranspose")
def conv_transpose(op: Operation, g: Value) -> Gradients:
    kept = ("strides", "dilations", "group", "kernel_shape")
    attributes = {k: v for k in kept if (v := op.attribute(k)) is not None}
    return [op.build.emit("Conv", g, op.inputs[1], pads=_transposed_pads(op), **attributes)]


def _transposed_pads(op: Operation) -> list[int]:
    """What ConvTranspose cuts off; worked out from the lengths where the node does not say it."""
    x, weight, y = op.inputs[0], op.inputs[1], op.outputs[0]
    axes = x.rank - 2
    mode = op.attribute("auto_pad", "NOTSET")
    if mode == "VALID" or (mode == "NOTSET" and not op.attribute("output_shape")):
        return list(op.attribute("pads", [0] * 2 * axes))
    lengths, outputs = static_lengths(x), static_lengths(y)
    window = Window.of(op, x, weight.shape)
    if lengths is None or outputs is None:
        raise op.refusal("auto_pad or output_shape on axes whose lengths are unknown")
    spans = zip(lengths, outputs, window.strides, window.extents, strict=True)
    extra = op.attribute("output_padding", [0] * axes)
    totals = [s * (n - 1) + reach - out for n, out, s, reach in spans]
    # Beyond what the windows reach there is nothing but bias.
    totals = [max(total + more, 0) for total, more in zip(totals, extra, strict=True)]
    small, large = [t // 2 for t in totals], [t - t // 2 for t in totals]
    return [*small, *large] if mode == "SAME_UPPER" else [*large, *small]
