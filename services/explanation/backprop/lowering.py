"""Expanding operators into simpler ones by the function bodies that ONNX itself defines."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import onnx
from onnx import AttributeProto, defs, helper, inliner

_UNNAMED = ("", "ai.onnx")


def key_of(node: onnx.NodeProto) -> str:
    """The name a rule table knows an operator by; ONNX's own operators stand without domain."""
    return node.op_type if node.domain in _UNNAMED else f"{node.domain}.{node.op_type}"


def is_function(node: onnx.NodeProto, opset: int) -> bool:
    """Whether ONNX defines the operator as a function of others in that operator set."""
    try:
        schema: Any = defs.get_schema(node.op_type, opset, node.domain)
    except defs.SchemaError:
        return False
    return bool(schema.has_function or schema.has_context_dependent_function)


def inline_local_functions(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of the model with the functions it brought along put in place."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return inliner.inline_local_functions(copy) if copy.functions else copy


def expand(model: onnx.ModelProto, operators: Collection[str]) -> onnx.ModelProto:
    """Replace every node of `operators` by its function body."""
    _state_defaults(model, operators)
    known = {v.name for v in [*model.graph.value_info, *model.graph.input]}
    model.graph.value_info.extend(  # the inliner looks types up here, and only here
        helper.make_tensor_value_info(t.name, t.data_type, t.dims)
        for t in model.graph.initializer
        if t.name not in known
    )
    identities = [("", operator) for operator in sorted(operators)]
    return inliner.inline_selected_functions(model, identities, inline_schema_functions=True)


def _state_defaults(model: onnx.ModelProto, operators: Collection[str]) -> None:
    """Write default attributes out: the inliner leaves what a body takes from them empty."""
    opset = next(o.version for o in model.opset_import if o.domain in _UNNAMED)
    for node in model.graph.node:
        if key_of(node) not in operators:
            continue
        stated = {attribute.name for attribute in node.attribute}
        for name, definition in defs.get_schema(node.op_type, opset).attributes.items():
            default: AttributeProto = definition.default_value
            if name not in stated and default.type != AttributeProto.UNDEFINED:
                node.attribute.append(default)
