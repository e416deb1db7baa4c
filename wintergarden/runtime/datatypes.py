"""ONNX Runtime's names for types and the protocol's."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from wintergarden.errors import Unsupported

DATATYPES = {
    "tensor(bool)": "BOOL",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(float16)": "FP16",
    "tensor(bfloat16)": "BF16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}

_OPTIONAL = re.compile(r"optional\((tensor\(\w+\))\)")


@dataclass(frozen=True)
class TensorSpec:
    """An input or output.

    Attributes:
        name: as in the graph.
        datatype: the protocol's name for it, for example FP32.
        shape: -1 is a dimension of any size.
        is_optional: an input that may be left out.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    is_optional: bool = False


def input_spec(node: Any) -> TensorSpec:
    """What the graph says of an input.

    Raises:
        Unsupported: it is no tensor, or one of a type that the protocol has no name for.
    """
    optional = _OPTIONAL.fullmatch(node.type)
    return _spec(node, "input", optional.group(1) if optional else node.type, optional is not None)


def output_spec(node: Any) -> TensorSpec:
    """What the graph says of an output.

    Raises:
        Unsupported: it is no tensor, one of a type that the protocol has no name for, or may be
            missing, which the protocol cannot say.
    """
    return _spec(node, "output", node.type, is_optional=False)


def optional_specs(initializers: Any) -> tuple[TensorSpec, ...]:
    """The weights that may be given like inputs; those of other types keep their values."""
    return tuple(
        _spec(node, "input", node.type, is_optional=True)
        for node in initializers
        if node.type in DATATYPES
    )


def _spec(node: Any, kind: str, type_: str, is_optional: bool) -> TensorSpec:
    datatype = DATATYPES.get(type_)
    if datatype is None:
        cure = "; export with zipmap=False" if "map" in type_ else ""
        raise Unsupported(
            f"{kind} {node.name!r} is {node.type}; served are tensors of "
            f"{', '.join(DATATYPES.values())}{cure}"
        )
    shape = tuple(d if isinstance(d, int) and d >= 0 else -1 for d in node.shape)
    return TensorSpec(node.name, datatype, shape, is_optional)
