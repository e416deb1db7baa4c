"""Elements of an axis that are gathered one by one, taken by one Split.

Backwards a Split is one Concat, where elements gathered one by one are each surrounded with zeros
and added up: of the packed queries, keys and values of attention, three times the whole tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy.typing as npt
import onnx

from services.explanation.backprop.captures import names_in
from services.explanation.backprop.values import Builder, Shape, Value


def gather_together(
    model: onnx.ModelProto,
    shape_of: Callable[[str], Shape | None],
    constant_of: Callable[[str], npt.NDArray[Any] | None],
) -> bool:
    """Write Gathers of single elements as one Split where they take a whole axis.

    Args:
        model: Changed in place.
        shape_of: What is known of a tensor's shape.
        constant_of: The array behind a name, None for what is computed.

    Returns:
        Whether there were any.
    """
    taken: dict[tuple[str, int, int], dict[int, onnx.NodeProto]] = {}
    for node in model.graph.node:
        if node.op_type != "Gather" or (shape := shape_of(node.input[0])) is None:
            continue
        index = constant_of(node.input[1])
        axis = next((a.i for a in node.attribute if a.name == "axis"), 0) % len(shape)
        length = shape[axis]
        if index is not None and not index.ndim and isinstance(length, int) and length > 1:
            place = (node.input[0], axis, length)
            taken.setdefault(place, {}).setdefault(int(index) % length, node)
    groups = {place: by_index for place, by_index in taken.items() if len(by_index) == place[2]}
    build = Builder(names_in(model.graph), prefix="gathered")
    for (whole, axis, _), by_index in groups.items():
        gathers = [by_index[i] for i in sorted(by_index)]
        _replace(model.graph, gathers, _taken_by_split(build, gathers, whole, axis))
    model.graph.initializer.extend(build.initializers)
    return bool(groups)


def _taken_by_split(
    build: Builder, gathers: Collection[onnx.NodeProto], whole: str, axis: int
) -> list[onnx.NodeProto]:
    """Nodes that compute what the Gathers do, which take the elements of the axis in order."""
    before = len(build.nodes)
    count = len(gathers)
    parts = build.emit_many("Split", Value(build, whole), count=count, axis=axis, num_outputs=count)
    for node, part in zip(gathers, parts, strict=True):
        build.emit("Squeeze", part, build.integers([axis]))
        build.nodes[-1].output[0] = node.output[0]
    return build.nodes[before:]


def _replace(
    graph: onnx.GraphProto,
    gathers: Collection[onnx.NodeProto],
    made: Collection[onnx.NodeProto],
) -> None:
    """The Gathers by other nodes, where the first of them stands."""
    replaced = {node.output[0] for node in gathers}
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in graph.node]
    first = min(i for i, node in enumerate(nodes) if replaced.intersection(node.output))
    kept = [node for node in nodes[first:] if not replaced.intersection(node.output)]
    del graph.node[:]
    graph.node.extend([*nodes[:first], *made, *kept])
