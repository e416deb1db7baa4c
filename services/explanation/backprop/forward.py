"""The forward graph, made ready to be differentiated: lifted, inlined, shapes inferred."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import (
    TensorProto,
    helper,
    numpy_helper,
    shape_inference,
    version_converter,
)

from services.explanation.backprop.captures import captures, reads
from services.explanation.backprop.folding import fold_batch_normalisation
from services.explanation.backprop.lowering import (
    expand,
    inline_local_functions,
    is_function,
    key_of,
)
from services.explanation.backprop.operation import refuse
from services.explanation.backprop.planes import write_as_products
from services.explanation.backprop.splits import gather_together
from services.explanation.backprop.traditional import spell_out
from services.explanation.backprop.values import Builder, Dim, Shape, Value
from wintergarden.errors import InvalidArgument, Unsupported

MINIMUM_OPSET = 18
"""Reductions, Pad and Split take their axes as inputs from here on; older models are converted."""

FLOAT_TYPES = frozenset(
    {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE}
)
_UNNAMED = ("", "ai.onnx")


class ForwardGraph:
    """A private copy of a model with what is known about each of its tensors."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = _infer(spell_out(_lift(inline_local_functions(model))))
        self._index()

    def fold(self) -> None:
        """Take each BatchNormalization into the layer before it."""
        self.model = _infer(fold_batch_normalisation(self.model))
        self._index()

    def flatten_small_planes(self) -> None:
        """Write convolutions over planes of a few pixels as matrix products."""
        shapes = {name: _shape(v.type.tensor_type.shape)[2:] for name, v in self._info.items()}
        known = {
            name: lengths
            for name, dims in shapes.items()
            if len(lengths := tuple(d for d in dims if isinstance(d, int))) == len(dims)
        }
        if write_as_products(self.model, known):
            self.model = _infer(self.model)
            self._index()

    def gather_together(self) -> None:
        """Write Gathers of single elements as one Split where they take a whole axis."""
        if gather_together(self.model, self.shape, self.constant):
            self.model = _infer(self.model)
            self._index()

    def _index(self) -> None:
        graph = self.model.graph
        self._constants: dict[str, TensorProto] = {t.name: t for t in graph.initializer}
        for node in graph.node:
            if node.op_type == "Constant" and (tensor := _constant(node)) is not None:
                self._constants[node.output[0]] = tensor
        described = [*graph.value_info, *graph.input, *graph.output]
        self._info: dict[str, onnx.ValueInfoProto] = {v.name: v for v in described}
        self._straight_through = {
            node.output[0] for node in graph.node if node.op_type == "QuantizeLinear"
        }
        self.inputs: list[str] = [v.name for v in graph.input if v.name not in self._constants]
        self.outputs: list[str] = [v.name for v in graph.output]

    @property
    def opset(self) -> int:
        """Of ONNX's own operators."""
        return _opset(self.model) or MINIMUM_OPSET

    def tensors(self) -> set[str]:
        """Every tensor name of the outermost graph."""
        produced = {o for node in self.model.graph.node for o in node.output if o}
        return produced | set(self.inputs) | set(self._constants)

    def info(self, tensor: str) -> onnx.ValueInfoProto:
        """Element type and shape of a tensor as far as inference could tell.

        Raises:
            Unsupported: nothing is known about it.
        """
        if tensor not in self._info:
            raise Unsupported(f"shape inference knows nothing about tensor '{tensor}'")
        return self._info[tensor]

    def constant(self, tensor: str) -> npt.NDArray[Any] | None:
        """The array of an initialiser or Constant node, None for anything computed."""
        found = self._constants.get(tensor)
        return None if found is None else numpy_helper.to_array(found)

    def value(self, builder: Builder, tensor: str) -> Value:
        """A handle on a forward tensor for backward nodes to use."""
        if tensor in self._constants:
            return Value(builder, tensor, self._constants[tensor].data_type, self.shape(tensor))
        if tensor not in self._info:
            return Value(builder, tensor)
        elem_type = self._info[tensor].type.tensor_type.elem_type
        return Value(builder, tensor, elem_type, self.shape(tensor))

    def shape(self, tensor: str) -> Shape | None:
        """What is known of a tensor's shape; None where not even its rank is."""
        if tensor in self._constants:
            return tuple(self._constants[tensor].dims)
        if tensor not in self._info:
            return None
        kind = self._info[tensor].type.tensor_type
        return _shape(kind.shape) if kind.HasField("shape") else None

    def is_float(self, tensor: str) -> bool:
        """Whether a tensor is of a float type; True where the type is unknown."""
        if tensor not in self._info:
            return True
        kind = self._info[tensor].type
        return kind.WhichOneof("value") == "tensor_type" and (
            kind.tensor_type.elem_type in FLOAT_TYPES
        )

    def carries(self, tensor: str) -> bool:
        """Whether a gradient can flow through a tensor: floats, and integers of QuantizeLinear."""
        return self.is_float(tensor) or tensor in self._straight_through

    def branch(self, branch: onnx.GraphProto) -> ForwardGraph:
        """A branch of an If as a graph of its own, fed with what it takes from around it."""
        outside = sorted(captures(branch))
        initializers = {t.name: t for t in self.model.graph.initializer}
        fed = [self._info[n] for n in outside if n in self._info and n not in initializers]
        graph = helper.make_graph(
            branch.node,
            branch.name,
            fed,
            branch.output,
            [*branch.initializer, *(initializers[n] for n in outside if n in initializers)],
            value_info=branch.value_info,
        )
        return ForwardGraph(
            helper.make_model(
                graph, opset_imports=self.model.opset_import, ir_version=self.model.ir_version
            )
        )

    def path(self, sources: Collection[str], outputs: Collection[str]) -> list[onnx.NodeProto]:
        """The nodes through which `outputs` depend differentiably on `sources`, in order."""
        active = set(sources)
        downstream = []
        for node in self.model.graph.node:
            if active.intersection(reads(node)):
                downstream.append(node)
                active.update(o for o in node.output if o and self.carries(o))
        wanted, path = set(outputs), []
        for node in reversed(downstream):
            if wanted.intersection(node.output):
                wanted.update(reads(node) & active)
                path.append(node)
        return path[::-1]

    def lower(
        self, sources: Collection[str], outputs: Collection[str], rules: Collection[str]
    ) -> None:
        """Expand operators on the path that have no rule but are ONNX functions of simpler ones.

        Raises:
            Unsupported: operators remain that have neither, all of them named.
        """
        while True:
            known = {"If", *rules}  # branches are looked into when their turn comes
            missing = [n for n in self.path(sources, outputs) if key_of(n) not in known]
            functions = {n.op_type for n in missing if is_function(n, self.opset)}
            if stuck := [n for n in missing if n.op_type not in functions]:
                raise refuse(stuck, "no backward rule")
            if not functions:
                return
            self.model = expand(self.model, functions)
            still = {n.op_type for n in self.model.graph.node}
            self.model = _infer(self.model)
            self._index()
            if functions <= still:
                raise refuse(missing, "its function body cannot be expanded")


def _constant(node: onnx.NodeProto) -> TensorProto | None:
    """The tensor of a Constant node; None for strings and sparse tensors."""
    (attribute,) = node.attribute
    tensor: TensorProto = attribute.t
    if attribute.name == "value":
        return tensor
    dtype = {"value_int": np.int64, "value_float": np.float32}.get(attribute.name.rstrip("s"))
    if dtype is None:
        return None
    return numpy_helper.from_array(np.asarray(helper.get_attribute_value(attribute), dtype))


def _lift(model: onnx.ModelProto) -> onnx.ModelProto:
    opset = _opset(model)
    if opset is None:
        raise InvalidArgument("the model imports no ai.onnx operator set", "model")
    if opset >= MINIMUM_OPSET:
        return model
    try:
        return version_converter.convert_version(model, MINIMUM_OPSET)
    except Exception as error:  # the converter raises RuntimeError, ConvertError and more
        raise Unsupported(
            f"opset {opset} cannot be converted to {MINIMUM_OPSET}: {error}; export the model again"
        ) from error


def _opset(model: onnx.ModelProto) -> int | None:
    return next((o.version for o in model.opset_import if o.domain in _UNNAMED), None)


def _infer(model: onnx.ModelProto) -> onnx.ModelProto:
    return shape_inference.infer_shapes(model, data_prop=True)


def _shape(shape: onnx.TensorShapeProto) -> Shape:
    return tuple(_dim(d) for d in shape.dim)


def _dim(dim: onnx.TensorShapeProto.Dimension) -> Dim:
    if dim.HasField("dim_value"):
        return int(dim.dim_value)
    return dim.dim_param or None
