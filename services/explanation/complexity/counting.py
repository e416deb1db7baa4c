"""Arithmetic operations of one operator. A multiplication and its addition are two."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import prod

from services.explanation.complexity.shapes import Shape

Count = Callable[[Sequence[Shape], Sequence[Shape], Mapping[str, object]], int]
"""Shapes of inputs and outputs, and attributes, to operations."""

FREE = frozenset({
    "Cast", "CastLike", "Concat", "Constant", "ConstantOfShape", "DepthToSpace", "Dropout",
    "Expand", "EyeLike", "Flatten", "Gather", "GatherElements", "GatherND", "Identity", "OneHot",
    "Pad", "Range", "Reshape", "ReverseSequence", "ScatterElements", "ScatterND", "Shape", "Size",
    "Slice", "SpaceToDepth", "Split", "Squeeze", "StringSplit", "Tile", "Transpose", "Unsqueeze",
    "Where",
})  # fmt: skip
"""They move numbers and compute none."""


def _convolution(inputs: Sequence[Shape], outputs: Sequence[Shape], _: object) -> int:
    """Each output element is a sum over C / groups × the kernel. Weights: [M, C / groups, …]."""
    weight = inputs[1]
    bias = prod(outputs[0]) if len(inputs) > 2 and inputs[2] else 0
    return 2 * prod(outputs[0]) * prod(weight[1:]) + bias


def _transposed_convolution(inputs: Sequence[Shape], outputs: Sequence[Shape], _: object) -> int:
    """Each input element is spread over M / groups × the kernel. Weights: [C, M / groups, …]."""
    bias = prod(outputs[0]) if len(inputs) > 2 and inputs[2] else 0
    return 2 * prod(inputs[0]) * prod(inputs[1][1:]) + bias


def _matmul(inputs: Sequence[Shape], outputs: Sequence[Shape], _: object) -> int:
    return 2 * prod(outputs[0]) * inputs[0][-1]


def _gemm(
    inputs: Sequence[Shape], outputs: Sequence[Shape], attributes: Mapping[str, object]
) -> int:
    depth = inputs[0][0] if attributes.get("transA") else inputs[0][1]
    bias = prod(outputs[0]) if len(inputs) > 2 and inputs[2] else 0
    return 2 * prod(outputs[0]) * depth + bias


def _einsum(inputs: Sequence[Shape], _: Sequence[Shape], attributes: Mapping[str, object]) -> int:
    """One product for each combination of all indices."""
    equation = attributes["equation"]
    text = equation.decode() if isinstance(equation, bytes) else str(equation)
    sizes: dict[str, int] = {}
    for term, shape in zip(text.split("->", maxsplit=1)[0].split(","), inputs, strict=True):
        named = term.strip().replace("...", "")
        sizes.update(zip(named, shape[len(shape) - len(named) :], strict=True))
    return len(inputs) * prod(sizes.values())


def _recurrent(gates: int) -> Count:
    """X [T, N, I], W [D, gates·H, I], R [D, gates·H, H]: two products a step and direction."""

    def count(inputs: Sequence[Shape], outputs: Sequence[Shape], _: object) -> int:
        steps, rows, features = inputs[0]
        directions, _, hidden = inputs[2]
        products = 2 * gates * hidden * (features + hidden)
        pointwise = 2 * gates * hidden
        return steps * rows * directions * (products + pointwise)

    return count


def _pooling(
    inputs: Sequence[Shape], outputs: Sequence[Shape], attributes: Mapping[str, object]
) -> int:
    kernel: list[int] = list(attributes["kernel_shape"])  # type: ignore[call-overload]
    return prod(outputs[0]) * prod(kernel)


def _each_input(inputs: Sequence[Shape], outputs: Sequence[Shape], _: object) -> int:
    return prod(inputs[0])


def each_output(inputs: Sequence[Shape], outputs: Sequence[Shape], _: object) -> int:
    """What an operator that is not listed is taken for."""
    return prod(outputs[0])


COUNTS: Mapping[str, Count] = {
    "Conv": _convolution,
    "ConvInteger": _convolution,
    "ConvTranspose": _transposed_convolution,
    "MatMul": _matmul,
    "MatMulInteger": _matmul,
    "Gemm": _gemm,
    "Einsum": _einsum,
    "LSTM": _recurrent(4),
    "GRU": _recurrent(3),
    "RNN": _recurrent(1),
    "AveragePool": _pooling,
    "MaxPool": _pooling,
    "LpPool": _pooling,
    "GlobalAveragePool": _each_input,
    "GlobalMaxPool": _each_input,
    "ReduceMean": _each_input,
    "ReduceSum": _each_input,
    "ReduceMax": _each_input,
    "ReduceMin": _each_input,
    "ReduceL2": _each_input,
    "ReduceProd": _each_input,
    "ArgMax": _each_input,
}
