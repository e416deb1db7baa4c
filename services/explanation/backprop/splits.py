"""Elements of an axis that are gathered one by one, taken by one Split.

Backwards a Split is one Concat, where elements gathered one by one are each surrounded with zeros
and added up: of the packed queries, keys and values of attention, three times the whole tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from services.explanation.backprop.values import Shape


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
    for (whole, axis, _), by_index in groups.items():
        _replace(model.graph, [by_index[i] for i in sorted(by_index)], whole, axis)
    return bool(groups)


def _replace(
    graph: onnx.GraphProto, gathers: Collection[onnx.NodeProto], whole: str, axis: int
) -> None:
    """The Gathers, in the order of what they take, by a Split where the first of them stands."""
    names = [node.output[0] for node in gathers]
    axes = numpy_helper.from_array(np.array([axis], np.int64), f"{names[0]}/axis")
    graph.initializer.append(axes)
    parts = [f"{name}/part" for name in names]
    made = [
        helper.make_node("Split", [whole], parts, axis=axis, num_outputs=len(names)),
        *(
            helper.make_node("Squeeze", [part, axes.name], [name])
            for part, name in zip(parts, names, strict=True)
        ),
    ]
    replaced = set(names)
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in graph.node]
    first = min(i for i, node in enumerate(nodes) if replaced.intersection(node.output))
    kept = [node for node in nodes[first:] if not replaced.intersection(node.output)]
    del graph.node[:]
    graph.node.extend([*nodes[:first], *made, *kept])
