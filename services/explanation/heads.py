"""Which tensor of a graph is explained or attacked, and on what scale it speaks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnx
from onnx import helper, numpy_helper

from wintergarden.errors import InvalidArgument, Unsupported
from wintergarden.store import Manifest

Space = Literal["logit", "probability", "value"]

_FLOATS = ("FP16", "FP32", "FP64")


@dataclass(frozen=True)
class Head:
    """A tensor [N, K] of the graph.

    Attributes:
        name: Of the tensor; usually an output of the graph.
        space: What its numbers are.
    """

    name: str
    space: Space


def explained_head(manifest: Manifest, output_name: str) -> Head:
    """The output named, else the logits, else the first output of a float type.

    Raises:
        InvalidArgument: no such output, or none to explain.
    """
    floats = [o.name for o in manifest.outputs if o.datatype in _FLOATS]
    if output_name and output_name not in floats:
        raise InvalidArgument(
            f"{_label(manifest)} has no float output '{output_name}'; it has "
            f"{', '.join(floats) or 'none'}",
            "output_name",
        )
    if not floats:
        raise Unsupported(f"{_label(manifest)} has no float output to explain")
    name = output_name or ("logits" if "logits" in floats else floats[0])
    return Head(name, _space(manifest, name))


def attacked_head(
    manifest: Manifest, model: onnx.ModelProto, output_name: str, needs_gradient: bool = True
) -> Head:
    """The logits whose cross-entropy an attack climbs.

    An output that comes out of a Softmax saturates, and its cross-entropy would be taken of
    another softmax: then the Softmax's own input is the head. An attack that takes no gradient is
    content with probabilities, such as those of a forest. An output of unknown meaning is taken for
    logits.

    Raises:
        InvalidArgument: no such output.
        Unsupported: it is a value, or probabilities without a Softmax in the graph.
    """
    head = explained_head(manifest, output_name)
    if manifest.task == "regression":
        raise Unsupported(
            f"{_label(manifest)} is a regression and attacks need classes; attributions such as "
            "kernel_shap explain it"
        )
    producer = _producer(model, head.name)
    if producer is not None and producer.op_type == "Softmax":
        return Head(producer.input[0], "logit")
    is_squashed = producer is not None and producer.op_type == "Sigmoid"
    if head.space == "probability" and not is_squashed and not needs_gradient:
        return head
    if head.space == "probability" or is_squashed:
        raise Unsupported(
            f"output '{head.name}' of {_label(manifest)} is probabilities that no Softmax of the "
            "graph makes, so there are no logits to attack; name an output of logits, or attack by "
            "square or boundary, which need no gradient"
        )
    return Head(head.name, "logit")


def exposing(model: onnx.ModelProto, tensor: str) -> onnx.ModelProto:
    """The model with `tensor` among its outputs.

    Raises:
        Unsupported: shape inference cannot tell what the tensor is.
    """
    if tensor in {o.name for o in model.graph.output}:
        return model
    inferred = onnx.shape_inference.infer_shapes(model).graph.value_info
    info = next((v for v in inferred if v.name == tensor), None)
    if info is None:
        raise Unsupported(
            f"shape inference knows nothing about the inner tensor '{tensor}'; name another layer"
        )
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.graph.output.append(info)
    return copy


def cut(model: onnx.ModelProto, tensor: str) -> onnx.ModelProto:
    """The model from an inner tensor on: that is an input of it, beside those it has."""
    copy = exposing(model, tensor)
    copy = copy if copy is not model else onnx.ModelProto.FromString(model.SerializeToString())
    info = next(o for o in copy.graph.output if o.name == tensor)
    copy.graph.input.append(info)
    if tensor not in {o.name for o in model.graph.output}:
        copy.graph.output.remove(info)
    for node in copy.graph.node:
        node.output[:] = [f"{name}.computed" if name == tensor else name for name in node.output]
    return copy


def embedding(model: onnx.ModelProto, tokens: str) -> str:
    """The first float tensor that is looked up by the numbers of an input; "" without one.

    A Gather from a table, or the product of a table with a one-hot row for each token, which is
    how JAX and older exporters look up.
    """
    node = _lookup(model, tokens)
    return "" if node is None else str(node.output[0])


def lookup_table(model: onnx.ModelProto, tokens: str) -> np.ndarray[Any, np.dtype[Any]] | None:
    """The table [V, D] of `embedding`; None without one."""
    node = _lookup(model, tokens)
    if node is None:
        return None
    name = node.input[0] if node.op_type == "Gather" else node.input[1]
    table = next(t for t in model.graph.initializer if t.name == name)
    axis = next((a.i for a in node.attribute if a.name == "axis"), 0)
    return numpy_helper.to_array(table) if len(table.dims) == 2 and not axis else None


def _lookup(model: onnx.ModelProto, tokens: str) -> Any:
    """The node; None without one."""
    tables = {t.name for t in model.graph.initializer if t.data_type in _FLOAT_TYPES}
    derived, one_hot = {tokens}, set[str]()
    for node in model.graph.node:
        first = node.input[0] if node.input else ""
        if node.op_type == "Gather" and first in tables and node.input[1] in derived:
            return node
        if node.op_type == "MatMul" and first in one_hot and node.input[1] in tables:
            return node
        if node.op_type in ("Equal", "OneHot") and derived.intersection(node.input):
            one_hot.update(node.output)
        elif node.op_type in _KEEP_TOKENS:
            derived.update(node.output if derived.intersection(node.input) else ())
            one_hot.update(node.output if one_hot.intersection(node.input) else ())
    return None


_KEEP_TOKENS = frozenset(
    {
        *("Cast", "Identity", "Clip", "Max", "Min", "Where"),
        *("Unsqueeze", "Squeeze", "Reshape", "Expand", "Transpose"),
    }
)
_FLOAT_TYPES = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE)
_HAND_ON = frozenset({"Identity", "Cast", "Dropout"})
_RECURRENT = frozenset({"LSTM", "GRU", "RNN"})
_FOLLOWS_CONVOLUTION = frozenset({"BatchNormalization", "Relu", "Clip", "LeakyRelu"})


def last_feature_maps(model: onnx.ModelProto) -> str:
    """What the last convolution becomes after its normalisation and rectifier; "" without one."""
    maps = ""
    for node in model.graph.node:
        is_next = node.op_type in _FOLLOWS_CONVOLUTION and maps == node.input[0]
        if node.op_type == "Conv" or is_next:
            maps = node.output[0]
    return maps


def last_states(model: onnx.ModelProto) -> str:
    """What the last recurrent layer says at each step; "" without one."""
    states = [n.output[0] for n in model.graph.node if n.op_type in _RECURRENT and n.output[0]]
    return states[-1] if states else ""


def with_units_last(model: onnx.ModelProto, tensor: str) -> tuple[onnx.ModelProto, str]:
    """The model with an inner tensor as [N, *places, units] among its outputs, and its name there.

    A recurrent node says [T, directions, N, H], whose units are directions * H; a convolution
    [N, C, …], whose units are C; anything else has its units last already.
    """
    shown = exposing(model, tensor)
    info = next(o for o in shown.graph.output if o.name == tensor)
    rank = len(info.type.tensor_type.shape.dim)
    made = _producer(model, tensor, through=_FOLLOWS_CONVOLUTION)
    is_recurrent = made is not None and made.op_type in _RECURRENT and rank == 4
    if not is_recurrent and (made is None or made.op_type != "Conv"):
        return shown, tensor
    order = [2, 0, 1, 3] if is_recurrent else [0, *range(2, rank), 1]
    copy, name = onnx.ModelProto(), f"{tensor}.units"
    copy.CopyFrom(model)
    moved = f"{name}.moved" if is_recurrent else name
    copy.graph.node.append(helper.make_node("Transpose", [tensor], [moved], perm=order))
    if is_recurrent:
        sizes = numpy_helper.from_array(np.array([0, 0, -1], np.int64), f"{name}.shape")
        copy.graph.initializer.append(sizes)
        copy.graph.node.append(helper.make_node("Reshape", [moved, sizes.name], [name]))
    kind, axes = info.type.tensor_type.elem_type, 3 if is_recurrent else rank
    copy.graph.output.append(helper.make_tensor_value_info(name, kind, [None] * axes))
    return copy, name


def _space(manifest: Manifest, name: str) -> Space:
    output = next(o for o in manifest.outputs if o.name == name)
    told = f"{name} {output.meaning}".lower()
    if "logit" in told or "log-probability" in told or "log_probabilit" in told:
        return "logit"
    if "probabilit" in told:
        return "probability"
    return "value"


def _producer(
    model: onnx.ModelProto, tensor: str, through: frozenset[str] = frozenset()
) -> onnx.NodeProto | None:
    """The node that computes a tensor, behind those that hand it on, or are of a kind `through`."""
    producers = {output: node for node in model.graph.node for output in node.output}
    node = producers.get(tensor)
    while node is not None and node.op_type in _HAND_ON | through:
        node = producers.get(node.input[0])
    return node


def _label(manifest: Manifest) -> str:
    return f"model '{manifest.model}' version {manifest.version}"
