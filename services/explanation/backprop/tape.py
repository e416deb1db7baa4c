"""Reverse-mode differentiation: walk the nodes backwards, add up what each rule sends upstream.

Baydin, Pearlmutter, Radul, Siskind, "Automatic differentiation in machine learning: a survey",
JMLR 18 (2018), §3.2. https://arxiv.org/abs/1502.05767
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import onnx

from services.explanation.backprop.forward import ForwardGraph
from services.explanation.backprop.lowering import key_of
from services.explanation.backprop.operation import Operation, refuse
from services.explanation.backprop.rules import Rule
from services.explanation.backprop.values import Builder, Value


class Tape:
    """Gradients of one objective by the tensors of one forward graph."""

    def __init__(self, graph: ForwardGraph, builder: Builder, rules: Mapping[str, Rule]) -> None:
        self._graph = graph
        self._build = builder
        self._rules = rules
        self._gradients: dict[str, list[Value]] = {}

    def backward(self, output: str, cotangent: Value, sources: Collection[str]) -> None:
        """Fill in ∂⟨cotangent, output⟩/∂t for every tensor t between `sources` and `output`."""
        path = self._graph.path(sources, output)
        active = set(sources).union(*(node.output for node in path))
        self._gradients = {output: [cotangent]}
        for node in reversed(path):
            if any(o in self._gradients for o in node.output):
                self._propagate(node, active)

    def gradient(self, tensor: str) -> Value | None:
        """What has arrived at `tensor`, summed; None if the objective does not depend on it."""
        arrived = self._gradients.get(tensor)
        if not arrived:
            return None
        while len(arrived) > 1:
            arrived.append(arrived.pop(0) + arrived.pop(0))
        return arrived[0]

    def _propagate(self, node: onnx.NodeProto, active: Collection[str]) -> None:
        op = Operation(
            node=node,
            inputs=tuple(self._graph.value(self._build, name) for name in node.input),
            outputs=tuple(self._graph.value(self._build, name) for name in node.output),
            build=self._build,
            constant_of=self._graph.constant,
            gradient_of=self._gradient_or_zeros,
        )
        gradients = self._rules[key_of(node)](op, self._gradient_or_zeros(op.outputs[0]))
        for index, name in enumerate(node.input):
            if name not in active or not self._graph.carries(name):
                continue
            if index >= len(gradients):
                raise refuse([node], f"no rule for the gradient by its input {index} ('{name}')")
            gradient = gradients[index]
            if gradient is not None:
                self._gradients.setdefault(name, []).append(gradient)

    def _gradient_or_zeros(self, value: Value) -> Value:
        return self.gradient(value.name) or value.zeros_like()
