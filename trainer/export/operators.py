"""Which nodes of a graph do the work, and which of those its outputs are read from."""

from __future__ import annotations

import onnx

# Operators with weights, where nearly all time and memory go.
HEAVY = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


def heavy_nodes(graph: onnx.GraphProto) -> set[str]:
    """Names of the nodes that do the work."""
    return {node.name for node in graph.node if node.op_type in HEAVY}


def read_outs(graph: onnx.GraphProto) -> set[str]:
    """Names of the last heavy node on each way to an output: their results are the answers."""
    producers = {name: node for node in graph.node for name in node.output}
    found, seen = set(), set()
    waiting = [output.name for output in graph.output]
    while waiting:
        node = producers.get(waiting.pop())
        if node is None or node.name in seen:
            continue
        seen.add(node.name)
        if node.op_type in HEAVY:
            found.add(node.name)
        else:
            waiting += node.input
    return found
