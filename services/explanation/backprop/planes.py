"""Convolutions over planes of a few pixels as matrix products.

At the end of a deep network planes are as small as windows, and ONNX Runtime's convolutions, which
go along rows, spend most of their time at edges. Two ways of writing them take a half to a fifth of
the time for batches, forwards and backwards, and give the same sums:

- over planes of up to 2x2 pixels, one matrix over channels and pixels, without the padding;
- over planes of up to 4x4, the windows side by side (im2col), with channels last.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

MAX_GROWTH = 2.0
"""Of the weights, by writing them as one matrix."""

MAX_PIXELS, MIN_TAPS = 16, 4
"""Of the plane and of the kernel, for windows side by side."""

MIN_CHANNELS = 32
"""Of inputs and outputs; below, a product of matrices gains nothing."""

Lengths = Mapping[str, tuple[int, ...]]
Array = npt.NDArray[Any]


def write_as_products(model: onnx.ModelProto, lengths: Lengths) -> bool:
    """Write convolutions of constant weights over known small planes as products.

    Args:
        model: Changed in place.
        lengths: Of the spatial axes of those tensors for which they are known.

    Returns:
        Whether there were any.
    """
    constants = {t.name: t for t in model.graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        found = _Convolution.of(node, constants, lengths)
        made = found.written(model.graph) if found else []
        nodes += made or [node]
    if len(nodes) == len(model.graph.node):
        return False
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return True


@dataclass(frozen=True)
class _Convolution:
    """A Conv of constant weights [M, C, …kernel] over planes of known lengths."""

    node: onnx.NodeProto
    weight: Array
    bias: Array
    inside: tuple[int, ...]
    outside: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[int, ...]

    @classmethod
    def of(
        cls, node: onnx.NodeProto, constants: Mapping[str, onnx.TensorProto], lengths: Lengths
    ) -> _Convolution | None:
        """None for other operators, and for what gains nothing or is not known."""
        if node.op_type != "Conv" or any(n not in constants for n in node.input[1:] if n):
            return None
        given = {a.name: helper.get_attribute_value(a) for a in node.attribute}
        inside, outside = lengths.get(node.input[0]), lengths.get(node.output[0])
        if not inside or not outside or min(constants[node.input[1]].dims[:2]) < MIN_CHANNELS:
            return None
        if given.get("group", 1) != 1 or given.get("auto_pad", b"NOTSET") != b"NOTSET":
            return None
        if max(math.prod(inside), math.prod(outside)) > MAX_PIXELS:
            return None
        weight = numpy_helper.to_array(constants[node.input[1]])
        bias = np.zeros(len(weight), weight.dtype)
        if len(node.input) > 2 and node.input[2]:
            bias = numpy_helper.to_array(constants[node.input[2]])
        axes = len(inside)
        return cls(
            node, weight, bias, inside, outside, tuple(given.get("strides", [1] * axes)),
            tuple(given.get("dilations", [1] * axes)), tuple(given.get("pads", [0] * 2 * axes)),
        )  # fmt: skip

    def written(self, graph: onnx.GraphProto) -> list[onnx.NodeProto]:
        """Nodes in its place, whose constants go to the graph; none where it had better stay."""
        taps = math.prod(self.weight.shape[2:])
        writer = _Writer(self.node.output[0], graph)
        if math.prod(self.inside) * math.prod(self.outside) <= MAX_GROWTH * taps:
            self._as_one_matrix(writer)
        elif taps >= MIN_TAPS and all(s == 1 for s in self.strides):
            self._side_by_side(writer)
        return writer.nodes

    def _as_one_matrix(self, to: _Writer) -> None:
        """[N, C, …] to [N, C · pixels] to [N, M · pixels]."""
        count, channels, *kernel = self.weight.shape
        matrix = np.zeros((*self.outside, *self.inside, count, channels), self.weight.dtype)
        by_tap = np.moveaxis(self.weight, (0, 1), (-2, -1))
        for place in itertools.product(*map(range, self.outside)):
            for tap in itertools.product(*map(range, kernel)):
                begins = self.pads[: len(kernel)]
                steps = zip(place, tap, self.strides, self.dilations, begins, strict=True)
                seen = tuple(o * s + k * d - p for o, k, s, d, p in steps)
                if all(0 <= at < n for at, n in zip(seen, self.inside, strict=True)):
                    matrix[place + seen] = by_tap[tap]
        matrix = np.moveaxis(matrix, (-2, -1), (0, 1 + len(kernel)))
        matrix = matrix.reshape(count * math.prod(self.outside), -1)
        rows = to.node("Reshape", self.node.input[0], to.constant([0, matrix.shape[1]]))
        bias = to.constant(np.repeat(self.bias, math.prod(self.outside)))
        product = to.node("Gemm", rows, to.constant(matrix), bias, transB=1)
        to.last("Reshape", product, to.constant([0, count, *self.outside]))

    def _side_by_side(self, to: _Writer) -> None:
        """[N, C, …] to [N pixels, taps · C] to [N pixels, M]."""
        count, channels, *kernel = self.weight.shape
        axes = len(kernel)
        last = to.node("Transpose", self.node.input[0], perm=[0, *range(2, 2 + axes), 1])
        if any(self.pads):
            begins, ends = self.pads[:axes], self.pads[axes:]
            last = to.node("Pad", last, to.constant([0, *begins, 0, 0, *ends, 0]))
        spatial = to.constant(range(1, 1 + axes))
        windows = []
        for tap in itertools.product(*map(range, kernel)):
            begin = [k * d for k, d in zip(tap, self.dilations, strict=True)]
            end = [b + n for b, n in zip(begin, self.outside, strict=True)]
            windows.append(to.node("Slice", last, to.constant(begin), to.constant(end), spatial))
        beside = to.node("Concat", *windows, axis=-1)
        rows = to.node("Reshape", beside, to.constant([-1, math.prod(kernel) * channels]))
        matrix = np.moveaxis(self.weight, (0, 1), (-1, -2)).reshape(-1, count)
        product = to.node("Gemm", rows, to.constant(matrix), to.constant(self.bias))
        planes = to.node("Reshape", product, to.constant([-1, *self.outside, count]))
        to.last("Transpose", planes, perm=[0, 1 + axes, *range(1, 1 + axes)])


class _Writer:
    """Nodes and constants named after the tensor that they compute."""

    def __init__(self, output: str, graph: onnx.GraphProto) -> None:
        self._output, self._graph = output, graph
        self._constants = 0
        self.nodes: list[onnx.NodeProto] = []

    def constant(self, values: npt.ArrayLike | range) -> str:
        array = np.asarray(values)
        name = f"{self._output}/product/constant_{self._constants}"
        self._constants += 1
        self._graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        name = f"{self._output}/product/{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [name], name, **attributes))
        return name

    def last(self, operator: str, *inputs: str, **attributes: Any) -> None:
        self.node(operator, *inputs, **attributes)
        self.nodes[-1].output[0] = self._output
