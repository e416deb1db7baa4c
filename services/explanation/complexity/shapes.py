"""A graph with every size known: what is left open is filled in, what follows is inferred."""

from __future__ import annotations

from collections.abc import Mapping

import onnx
import onnx.inliner
from onnx import TensorProto, helper

from wintergarden.errors import InvalidArgument

Shape = tuple[int, ...]

_SMALL = 1024  # elements; a constant that may say a shape, which inference must be able to read


def concrete(model: onnx.ModelProto, *, rows: int, length: int) -> onnx.ModelProto:
    """The graph for so many rows, with shapes inferred; weights are left out of it.

    Args:
        model: any.
        rows: in place of an open first axis of an input.
        length: in place of every other open axis.

    Raises:
        InvalidArgument: these sizes do not fit the graph.
    """
    flat = onnx.inliner.inline_local_functions(model) if model.functions else model
    copy = onnx.ModelProto()
    copy.ir_version = max(flat.ir_version, 4)
    copy.opset_import.extend(flat.opset_import)
    graph = copy.graph
    graph.name = flat.graph.name or "graph"
    graph.node.extend(flat.graph.node)
    initializers = {tensor.name for tensor in flat.graph.initializer}
    for value in flat.graph.input:
        if value.name not in initializers:
            graph.input.add().CopyFrom(_sized(value, rows, length))
    for tensor in flat.graph.initializer:
        if _elements(tensor.dims) <= _SMALL:
            graph.initializer.add().CopyFrom(tensor)
        else:
            weight = helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
            graph.input.append(weight)
    for output in flat.graph.output:  # what was declared for open sizes is inferred anew
        bare = graph.output.add()
        bare.name = output.name
        bare.type.tensor_type.elem_type = output.type.tensor_type.elem_type
    try:
        return onnx.shape_inference.infer_shapes(copy, data_prop=True, strict_mode=True)
    except onnx.shape_inference.InferenceError as error:
        raise InvalidArgument(
            f"the graph does not take {rows} rows of length {length}: {error!s:.300}", "length"
        ) from error


def shapes_of(graph: onnx.GraphProto) -> tuple[dict[str, Shape], dict[str, int]]:
    """Shapes, and bytes of an element, of the tensors of one graph that are known in full."""
    shapes: dict[str, Shape] = {}
    widths: dict[str, int] = {}
    for value in (*graph.input, *graph.value_info, *graph.output):
        tensor = value.type.tensor_type
        if not tensor.HasField("shape"):
            continue
        sizes = tuple(d.dim_value if d.HasField("dim_value") else -1 for d in tensor.shape.dim)
        if -1 not in sizes:
            shapes[value.name] = sizes
            widths[value.name] = element_bytes(tensor.elem_type)
    for initializer in graph.initializer:
        shapes[initializer.name] = tuple(initializer.dims)
        widths[initializer.name] = element_bytes(initializer.data_type)
    return shapes, widths


def element_bytes(elem_type: int) -> int:
    """Of one element; strings count as a pointer."""
    if elem_type in (TensorProto.STRING, TensorProto.UNDEFINED):
        return 8
    return int(helper.tensor_dtype_to_np_dtype(elem_type).itemsize)


def attributes(node: onnx.NodeProto) -> Mapping[str, object]:
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def _sized(value: onnx.ValueInfoProto, rows: int, length: int) -> onnx.ValueInfoProto:
    sized = onnx.ValueInfoProto()
    sized.CopyFrom(value)
    for axis, size in enumerate(sized.type.tensor_type.shape.dim):
        if not size.HasField("dim_value") or size.dim_value <= 0:
            size.dim_value = rows if axis == 0 else length
    return sized


def _elements(sizes: object) -> int:
    count = 1
    for size in sizes:  # type: ignore[attr-defined]
        count *= int(size)
    return count
