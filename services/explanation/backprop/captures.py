"""What a node looks at: its inputs, and what its subgraphs take from around them."""

from __future__ import annotations

import onnx


def reads(node: onnx.NodeProto) -> set[str]:
    """Every tensor a node uses, those its subgraphs capture from outside included."""
    names = {name for name in node.input if name}
    for attribute in node.attribute:
        for graph in [attribute.g, *attribute.graphs]:
            names |= captures(graph)
    return names


def captures(graph: onnx.GraphProto) -> set[str]:
    """Every tensor that a subgraph takes from around it."""
    used: set[str] = {v.name for v in graph.output}
    for node in graph.node:
        used |= reads(node)
    own = {o for node in graph.node for o in node.output}
    return used - own - {v.name for v in graph.input} - {t.name for t in graph.initializer}


def names_in(graph: onnx.GraphProto) -> set[str]:
    """Every name of a node or a tensor, those of subgraphs included."""
    names: set[str] = {v.name for v in [*graph.input, *graph.initializer]}
    for node in graph.node:
        names.update((node.name, *node.output))
        for attribute in node.attribute:
            for inner in [attribute.g, *attribute.graphs]:
                names |= names_in(inner)
    return names
