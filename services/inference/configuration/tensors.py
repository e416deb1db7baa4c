"""Holds a configuration's tensors to those of the graph, and says what clients see of them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeGuard

from wintergarden.errors import InvalidArgument
from wintergarden.runtime import TensorSpec
from wintergarden.wire import model_config_pb2 as pb

Tensor = pb.ModelInput | pb.ModelOutput

_BATCH = (-1,)
NOTHING_HIDDEN: tuple[frozenset[str], frozenset[str]] = (frozenset(), frozenset())


@dataclass(frozen=True)
class Reshape:
    """Between the shape that clients see and the graph's; without the batch dimension.

    Attributes:
        outside: what clients see.
        inside: what the graph takes or gives.
    """

    outside: tuple[int, ...]
    inside: tuple[int, ...]


@dataclass(frozen=True)
class Tensors:
    """What clients see of a graph, in the graph's order.

    Attributes:
        inputs: with the batch dimension where there is one.
        outputs: likewise; of several, those that the configuration names.
        is_batched: axis 0 of each is the batch.
        input_reshapes: by name, of the inputs that clients see in another shape.
        output_reshapes: likewise.
    """

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    is_batched: bool
    input_reshapes: Mapping[str, Reshape] = field(default_factory=dict)
    output_reshapes: Mapping[str, Reshape] = field(default_factory=dict)


def bind(
    config: pb.ModelConfig,
    inputs: Sequence[TensorSpec],
    outputs: Sequence[TensorSpec],
    *,
    is_batched: bool,
    hidden: tuple[Collection[str], Collection[str]] = NOTHING_HIDDEN,
) -> Tensors:
    """What clients see.

    Args:
        config: what it leaves out is as in the graph.
        inputs: of the graph.
        outputs: of the graph.
        is_batched: whether axis 0 of every tensor is the batch, which `dims` leave out.
        hidden: inputs and outputs that are no client's business, such as a sequence's states.

    Raises:
        InvalidArgument: a name, datatype or shape is not the graph's.
    """
    where = f"model {config.name!r:.200}"
    seen_inputs = _seen(config.input, inputs, hidden[0], "input", where)
    seen_outputs = _seen(config.output, outputs, hidden[1], "output", where)
    declared = {t.name for t in config.input}
    for spec in seen_inputs:
        if declared and spec.name not in declared and not spec.is_optional:
            raise InvalidArgument(
                f"{where}: the graph needs input {_told(spec)}, which the configuration leaves "
                "out; list every input, or none"
            )
    if config.output:
        named = {t.name for t in config.output}
        seen_outputs = [spec for spec in seen_outputs if spec.name in named]
    of_input = _outside_all(seen_inputs, config.input, is_batched, f"{where}: input")
    of_output = _outside_all(seen_outputs, config.output, is_batched, f"{where}: output")
    return Tensors(of_input[0], of_output[0], is_batched, of_input[1], of_output[1])


def _outside_all(
    specs: Sequence[TensorSpec], declared: Sequence[Tensor], is_batched: bool, where: str
) -> tuple[tuple[TensorSpec, ...], dict[str, Reshape]]:
    by_name = {tensor.name: tensor for tensor in declared}
    seen, reshapes = [], {}
    for spec in specs:
        outside, reshape = _outside(spec, by_name.get(spec.name), is_batched, where)
        seen.append(outside)
        if reshape is not None:
            reshapes[spec.name] = reshape
    return tuple(seen), reshapes


def _seen(
    declared: Sequence[Tensor],
    specs: Sequence[TensorSpec],
    hidden: Collection[str],
    kind: str,
    where: str,
) -> list[TensorSpec]:
    names = [tensor.name for tensor in declared]
    known = {spec.name for spec in specs}
    for name in names:
        if name not in known:
            there_are = ", ".join(map(_told, specs)) or "none"
            raise InvalidArgument(
                f"{where}: the graph has no {kind} {name!r:.200}; its {kind}s are {there_are}",
                field=kind,
            )
        if names.count(name) > 1:
            raise InvalidArgument(f"{where}: {kind} {name!r:.200} is listed twice", field=kind)
    return [spec for spec in specs if spec.name not in hidden]


def _outside(
    spec: TensorSpec,
    tensor: Tensor | None,
    is_batched: bool,
    where: str,
) -> tuple[TensorSpec, Reshape | None]:
    where = f"{where} {spec.name!r:.200}"
    batch = _BATCH if is_batched else ()
    if _is_told_by(tensor, spec):
        # Its shape is nowhere in the graph, and the configuration is believed.
        return TensorSpec(spec.name, spec.datatype, (*batch, *tensor.dims)), None
    if is_batched and (not spec.shape or spec.shape[0] != -1):
        raise InvalidArgument(
            f"{where}: with max_batch_size its axis 0 must be of any size, and in the graph its "
            f"shape is {list(spec.shape)}; set max_batch_size to 0 and give dims in full",
            field="max_batch_size",
        )
    if tensor is None:
        return spec, None
    if tensor.data_type and datatype_of(tensor.data_type) != spec.datatype:
        raise InvalidArgument(
            f"{where}: data_type {pb.DataType.Name(tensor.data_type)}, and in the graph it is "
            f"{spec.datatype}",
            field="data_type",
        )
    if getattr(tensor, "optional", False) and not spec.is_optional:
        raise InvalidArgument(
            f"{where}: optional, and the graph has no default for it; give it an initializer of "
            "the same name, or leave `optional` out",
            field="optional",
        )
    dims = tuple(tensor.dims)
    inside = tuple(tensor.reshape.shape) if tensor.HasField("reshape") else dims
    if not dims and not tensor.HasField("reshape"):
        return spec, None  # as in the graph
    if not _takes(spec.shape, (*batch, *inside)):
        called = "reshape" if tensor.HasField("reshape") else "dims"
        rule = "max_batch_size adds axis 0" if is_batched else "max_batch_size is 0: no axis added"
        raise InvalidArgument(
            f"{where}: {called} {list(inside)} do not fit the graph, where its shape is "
            f"{list(spec.shape)} (-1: any size; {rule})",
            field="dims",
        )
    outside = TensorSpec(spec.name, spec.datatype, (*batch, *dims), spec.is_optional)
    if inside == dims:
        return outside, None
    _check_reshape(dims, inside, where)
    return outside, Reshape(dims, inside)


def _is_told_by(tensor: Tensor | None, spec: TensorSpec) -> TypeGuard[pb.ModelOutput]:
    """Of an output without a shape in the graph, ONNX Runtime says the same as of a scalar."""
    return (
        isinstance(tensor, pb.ModelOutput)
        and not spec.shape
        and bool(tensor.dims)
        and not tensor.HasField("reshape")
        and datatype_of(tensor.data_type) == spec.datatype
    )


def _takes(graph: tuple[int, ...], declared: tuple[int, ...]) -> bool:
    return len(graph) == len(declared) and all(
        size in (-1, other) for size, other in zip(graph, declared, strict=True)
    )


def _check_reshape(dims: tuple[int, ...], inside: tuple[int, ...], where: str) -> None:
    """As in Triton: equally many elements, and the sizes left open are the same ones in order."""
    sizes = [1, 1]
    for i, shape in enumerate((dims, inside)):
        for size in shape:
            sizes[i] *= abs(size)
    if sizes[0] != sizes[1] or dims.count(-1) != inside.count(-1):
        raise InvalidArgument(
            f"{where}: dims {list(dims)} cannot be reshaped to {list(inside)}; both need equally "
            "many elements, and equally many sizes of -1",
            field="reshape",
        )


def datatype_of(number: int) -> str:
    """The protocol's name for a data type of a configuration."""
    name: str = pb.DataType.Name(number).removeprefix("TYPE_")
    return "BYTES" if name == "STRING" else name


def data_type(datatype: str) -> pb.DataType:
    """The configuration's number for a datatype of the protocol."""
    name = "STRING" if datatype == "BYTES" else datatype
    number: pb.DataType = pb.DataType.Value(f"TYPE_{name}")
    return number


def _told(spec: TensorSpec) -> str:
    return f"{spec.name!r:.200} ({spec.datatype} {list(spec.shape)})"
