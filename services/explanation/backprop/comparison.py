"""The forward pass once more, on a baseline: what rules that compare two inputs look at."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

import onnx

from services.explanation.backprop.captures import reads
from services.explanation.backprop.forward import ForwardGraph
from services.explanation.backprop.operation import refuse
from services.explanation.backprop.values import Value

_SUFFIX = ".baseline"


def baseline_name(tensor: str) -> str:
    """The graph input that a differentiated tensor is compared with; of outputs, their value."""
    return f"{tensor}{_SUFFIX}"


class Comparison:
    """Names of the second pass's tensors, and its nodes.

    Args:
        graph: The forward graph.
        sources: Tensors that the second pass is fed in place of their values.
    """

    def __init__(self, graph: ForwardGraph, sources: Collection[str]) -> None:
        self._graph = graph
        self._sources = set(sources)
        self._nodes: list[onnx.NodeProto] = []
        moved = set(sources)
        for node in graph.model.graph.node:
            if moved.intersection(reads(node)) and not set(node.output) <= self._sources:
                moved.update(o for o in node.output if o)
                self._nodes.append(node)

    def of(self, value: Value) -> Value:
        """The same tensor in the second pass; itself where the two do not differ."""
        return replace(value, name=self._renaming().get(value.name, value.name))

    def nodes(self, needed: Iterable[str]) -> list[onnx.NodeProto]:
        """The second pass, as far as the tensors `needed` depend on it.

        Raises:
            Unsupported: there is control flow in it.
        """
        renaming, wanted, kept = self._renaming(), set(needed), []
        for node in reversed(self._nodes):
            outputs = [renaming.get(name, name) for name in node.output]
            if not wanted.intersection(outputs):
                continue
            if any(a.HasField("g") for a in node.attribute):
                raise refuse([node], "control flow cannot be run on a baseline here")
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            copy.name = ""
            copy.input[:] = [renaming.get(name, name) for name in node.input]
            copy.output[:] = outputs
            wanted.update(copy.input)
            kept.append(copy)
        return kept[::-1]

    def _renaming(self) -> Mapping[str, str]:
        """Made anew each time: rules may demand further outputs of a node."""
        produced = {o for node in self._nodes for o in node.output if o}
        return {name: baseline_name(name) for name in produced | self._sources}
