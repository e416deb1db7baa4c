"""Counts a graph's parameters, operations and bytes of activations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from math import prod

import onnx
from onnx import TensorProto

from services.explanation.complexity.counting import COUNTS, FREE, each_output
from services.explanation.complexity.shapes import Shape, attributes, concrete, shapes_of

_FLOATS = {
    TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16,
    TensorProto.INT8, TensorProto.UINT8,
}  # fmt: skip


@dataclass(frozen=True)
class Complexity:
    """What one run costs.

    Attributes:
        parameters: Numbers stored in the graph: weights, quantised or not, and whatever
            normalisation keeps.
        operations: Arithmetic operations; a multiplication with its addition is two.
        activation_bytes: Of every tensor that is computed on the way.
        peak_activation_bytes: Of those that are needed at the same time, in the file's order.
        uncounted: Operators whose shapes depend on the data, so that they are not in the sums.
    """

    parameters: int
    operations: int
    activation_bytes: int
    peak_activation_bytes: int
    uncounted: tuple[str, ...] = ()


@dataclass
class _Tally:
    operations: int = 0
    activation_bytes: int = 0
    peak: int = 0
    uncounted: set[str] = field(default_factory=set)


def complexity(model: onnx.ModelProto, *, rows: int = 1, length: int = 32) -> Complexity:
    """Count for so many rows; axes left open, other than the rows, are of so many steps.

    Raises:
        InvalidArgument: the graph does not take these sizes.
    """
    sized = concrete(model, rows=rows, length=length)
    tally = _count(sized.graph, {}, {})
    return Complexity(
        parameters=sum(_stored(graph) for graph in _graphs(model.graph)),
        operations=tally.operations,
        activation_bytes=tally.activation_bytes,
        peak_activation_bytes=tally.peak,
        uncounted=tuple(sorted(tally.uncounted)),
    )


def _count(
    graph: onnx.GraphProto, outer_shapes: dict[str, Shape], outer_widths: dict[str, int]
) -> _Tally:
    own_shapes, own_widths = shapes_of(graph)
    shapes, widths = outer_shapes | own_shapes, outer_widths | own_widths
    last_use = {name: index for index, node in enumerate(graph.node) for name in node.input}
    ends = {output.name for output in graph.output}
    tally, live = _Tally(), 0
    held: dict[str, int] = {}
    for index, node in enumerate(graph.node):
        outputs = [name for name in node.output if name]
        inner = 0
        if any(name not in shapes for name in (*filter(None, node.input), *outputs)):
            tally.uncounted.add(node.op_type)
        elif bodies := [a.g for a in node.attribute if a.HasField("g")]:
            inner = _count_bodies(node, bodies, tally, shapes, widths)
        elif node.op_type not in FREE:
            inputs = [shapes[name] if name else () for name in node.input]
            count = COUNTS.get(node.op_type, each_output)
            tally.operations += count(inputs, [shapes[n] for n in outputs], attributes(node))
        if node.op_type != "Constant":
            for name in outputs:
                held[name] = prod(shapes.get(name, (0,))) * widths.get(name, 0)
                tally.activation_bytes += held[name]
                live += held[name]
        tally.peak = max(tally.peak, live + inner)
        for name in {*node.input, *outputs}:
            if last_use.get(name, -1) <= index and name not in ends:
                live -= held.pop(name, 0)
    return tally


def _count_bodies(
    node: onnx.NodeProto,
    bodies: list[onnx.GraphProto],
    tally: _Tally,
    shapes: dict[str, Shape],
    widths: dict[str, int],
) -> int:
    """Adds a Scan's, Loop's or If's bodies; the most bytes that one of them needs."""
    parts = [_count(body, shapes, widths) for body in bodies]
    times = 1
    if node.op_type == "Scan":
        scanned = int(dict(attributes(node))["num_scan_inputs"])  # type: ignore[call-overload]
        times = shapes[node.input[-scanned]][0]
    elif node.op_type == "Loop":
        tally.uncounted.add("Loop")  # how often is known when it runs; counted once
    dearest = max(parts, key=lambda part: part.operations)
    tally.operations += times * dearest.operations
    tally.activation_bytes += dearest.activation_bytes
    for part in parts:
        tally.uncounted |= part.uncounted
    return max(part.peak for part in parts)


def _stored(graph: onnx.GraphProto) -> int:
    """Numbers among initializers and constants; a scalar is no parameter."""
    tensors = [*graph.initializer]
    tensors += [
        a.t for n in graph.node if n.op_type == "Constant" for a in n.attribute if a.name == "value"
    ]
    return sum(prod(t.dims) for t in tensors if t.data_type in _FLOATS and prod(t.dims) > 1)


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _graphs(attribute.g)
