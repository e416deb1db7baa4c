"""The backward pass of MaxPool, where it can be had without the places of the maxima.

ONNX Runtime's MaxPool is ten to forty times slower where it also has to tell the places, and adding
at places is slow again. Of windows side by side the maxima are found anew by comparing: x with its
window's maximum. Where several elements share it the first one in order of rows gets all, as in
PyTorch. Where windows overlap, comparing for each element of a window takes longer than the places
(half as long again over GoogLeNet's pools at 32 rows).
"""

from __future__ import annotations

import math

import numpy as np
from onnx import TensorProto

from services.explanation.backprop.operation import Operation
from services.explanation.backprop.operators.indexing import put_back
from services.explanation.backprop.operators.windows import Window, static_lengths, upsampled
from services.explanation.backprop.rules import Gradients, RuleTable
from services.explanation.backprop.values import Value

rules = RuleTable()


@rules("MaxPool")
def max_pool(op: Operation, g: Value) -> Gradients:
    """All to the maximum that the forward pass picked: the first one of a tie, as in PyTorch."""
    x = op.inputs[0]
    window = Window.of(op, x)
    has_places = any(op.node.output[1:])
    # Shares are products with zeros and ones, which an infinite gradient does not survive.
    is_exact = op.is_bounded and g.elem_type == TensorProto.FLOAT
    if is_exact and not has_places and window.tiles(x):
        return [_tiled(op, g, window)]
    return [put_back(winners(op), g, x)]


def winners(op: Operation) -> Value:
    """Flat positions of a MaxPool's maxima."""
    if op.attribute("storage_order", 0):
        raise op.refusal("storage_order=1 (column-major indices)")
    return op.extra_output(1, TensorProto.INT64)


def _tiled(op: Operation, g: Value, window: Window) -> Value:
    """Windows side by side: each element looks at its own window's maximum.

    Those that equal it are numbered downwards, and the largest number of a window is its first.
    """
    x, y = op.inputs[0], op.outputs[0]
    lengths = static_lengths(x) or []
    numbers = np.arange(math.prod(window.kernel), 0, -1, dtype=np.float32).reshape(window.kernel)
    repeats = [n // k for n, k in zip(lengths, window.kernel, strict=True)]
    order = op.build.constant(np.tile(numbers, repeats)[None, None])
    ranked = x.equals(upsampled(y, window)).cast(g.elem_type) * order
    first = op.build.emit(
        "MaxPool", ranked, kernel_shape=list(window.kernel), strides=list(window.strides)
    )
    return ranked.equals(upsampled(first, window)).cast(g.elem_type) * upsampled(g, window)
