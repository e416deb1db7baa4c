"""Choices: the gradient of an If is an If on the same condition.

Each branch of it computes the chosen branch once more and its backward pass behind that.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

import onnx
from onnx import helper

from services.explanation.backprop.captures import captures, reads
from services.explanation.backprop.forward import ForwardGraph
from services.explanation.backprop.values import Builder, Value

Differentiate = Callable[[ForwardGraph, Mapping[str, Value], Sequence[str]], list[Value | None]]
"""A graph, cotangents by output and the sources to the gradients by the sources."""


def branches(
    graph: ForwardGraph,
    node: onnx.NodeProto,
    cotangents: Mapping[str, Value],
    active: Collection[str],
    differentiate: Differentiate,
) -> list[tuple[str, Value]]:
    """The gradients by the tensors around an If that its branches use.

    Args:
        graph: Around the node.
        node: The If.
        cotangents: Gradients by those of its outputs that have one.
        active: Tensors that depend on what is differentiated by.
        differentiate: With the rules in use.
    """
    sources = sorted(name for name in reads(node) & set(active) if graph.carries(name))
    (build,) = {value.builder for value in cotangents.values()}
    bodies = {
        attribute.name: _body(
            graph, attribute.g, dict(zip(node.output, _names(attribute.g), strict=True)),
            cotangents, sources, differentiate=differentiate, build=build.nested(),
        )
        for attribute in node.attribute
    }  # fmt: skip
    condition = Value(build, node.input[0])
    kind = graph.value(build, sources[0]).elem_type
    answers = build.emit_many("If", condition, count=len(sources), elem_type=kind, **bodies)
    return [
        (name, Value(build, answer.name, graph.value(build, name).elem_type))
        for name, answer in zip(sources, answers, strict=True)
    ]


def _body(
    graph: ForwardGraph,
    branch: onnx.GraphProto,
    inner_of: Mapping[str, str],
    cotangents: Mapping[str, Value],
    sources: Sequence[str],
    *,
    differentiate: Differentiate,
    build: Builder,
) -> onnx.GraphProto:
    forward = graph.branch(branch)
    arrived = {
        inner_of[output]: Value(build, g.name, g.elem_type, g.shape)
        for output, g in cotangents.items()
    }
    gradients = differentiate(forward, arrived, sources)
    results = [
        build.emit("Identity", forward.value(build, name).zeros_like() if g is None else g)
        for name, g in zip(sources, gradients, strict=True)
    ]
    outside = captures(branch)  # `forward` holds these as well
    own = [t for t in forward.model.graph.initializer if t.name not in outside]
    nodes = [*forward.model.graph.node, *build.nodes]
    for node in nodes:
        node.name = ""
    return helper.make_graph(
        nodes,
        f"{branch.name}_backward",
        [],
        [helper.make_tensor_value_info(v.name, v.elem_type, None) for v in results],
        [*own, *build.initializers],
    )


def _names(branch: onnx.GraphProto) -> list[str]:
    return [value.name for value in branch.output]
