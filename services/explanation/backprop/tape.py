"""Reverse-mode differentiation: walk the nodes backwards, add up what each rule sends upstream.

Baydin, Pearlmutter, Radul, Siskind, "Automatic differentiation in machine learning: a survey",
JMLR 18 (2018), §3.2. https://arxiv.org/abs/1502.05767
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

import onnx

from services.explanation.backprop.captures import reads
from services.explanation.backprop.comparison import Comparison
from services.explanation.backprop.control_flow import branches
from services.explanation.backprop.forward import ForwardGraph
from services.explanation.backprop.lowering import key_of
from services.explanation.backprop.operation import Operation, refuse
from services.explanation.backprop.rules import ANSWER_FOR_ALL_OUTPUTS, BOUNDED, Rule
from services.explanation.backprop.values import Builder, Value


class Tape:
    """Gradients of one objective by the tensors of one forward graph."""

    def __init__(
        self,
        graph: ForwardGraph,
        builder: Builder,
        rules: Mapping[str, Rule],
        comparison: Comparison | None = None,
        *,
        is_bounded: bool = True,
    ) -> None:
        self._graph = graph
        self._build = builder
        self._rules = rules
        self._comparison = comparison
        self._is_bounded = is_bounded
        self._gradients: dict[str, list[Value]] = {}

    def backward(self, cotangents: Mapping[str, Value], sources: Collection[str]) -> None:
        """Fill in ∂Σ⟨cotangent, output⟩/∂t for every tensor t between `sources` and the outputs."""
        path = self._graph.path(sources, cotangents)
        active = set(sources).union(*(node.output for node in path))
        self._is_bounded &= _have_bounded_derivatives(path, active)
        self._gradients = {output: [cotangent] for output, cotangent in cotangents.items()}
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
        if node.op_type == "If":
            if self._comparison:
                raise refuse([node], "rules that compare with a baseline do not look into branches")
            arrived = {o: g for o in node.output if (g := self.gradient(o)) is not None}
            for name, value in branches(self._graph, node, arrived, active, self._differentiated):
                self._gradients.setdefault(name, []).append(value)
            return
        op = Operation(
            node=node,
            inputs=tuple(self._graph.value(self._build, name) for name in node.input),
            outputs=tuple(self._graph.value(self._build, name) for name in node.output),
            build=self._build,
            constant_of=self._graph.constant,
            gradient_of=lambda value: self.gradient(value.name),
            active=active,
            is_bounded=self._is_bounded,
            baseline=self._comparison.of if self._comparison else _same,
        )
        if node.op_type not in ANSWER_FOR_ALL_OUTPUTS:
            for index, name in enumerate(node.output[1:], start=1):
                if name in self._gradients:
                    raise refuse([node], f"no rule for a gradient by its output {index} ('{name}')")
        gradients = self._rules[key_of(node)](op, op.gradient_or_zeros(op.outputs[0]))
        for index, name in enumerate(node.input):
            if name not in active or not self._graph.carries(name):
                continue
            if index >= len(gradients):
                raise refuse([node], f"no rule for the gradient by its input {index} ('{name}')")
            gradient = gradients[index]
            if gradient is not None:
                self._gradients.setdefault(name, []).append(gradient)

    def _differentiated(
        self, branch: ForwardGraph, cotangents: Mapping[str, Value], sources: Sequence[str]
    ) -> list[Value | None]:
        """The same rules on a branch of this graph; its nodes go to the cotangents' builder."""
        branch.lower(sources, cotangents, self._rules)
        (builder,) = {value.builder for value in cotangents.values()}
        inner = Tape(branch, builder, self._rules, is_bounded=self._is_bounded)
        inner.backward(cotangents, sources)
        return [inner.gradient(source) for source in sources]


def _have_bounded_derivatives(nodes: Iterable[onnx.NodeProto], active: Collection[str]) -> bool:
    """Of those that depend on `active`, and of what stands in their branches."""
    moved = set(active)
    for node in nodes:
        if not moved.intersection(reads(node)):
            continue
        moved.update(node.output)
        is_bounded = key_of(node) in BOUNDED
        if node.op_type == "Div":
            is_bounded = node.input[1] not in moved
        if node.op_type == "If":
            is_bounded = all(_have_bounded_derivatives(a.g.node, moved) for a in node.attribute)
        if not is_bounded:
            return False
    return True


def _same(value: Value) -> Value:
    return value
