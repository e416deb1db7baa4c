"""ONNX nodes, written one after another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

OPSET = 20
"""That of what the exporter gives."""


class Nodes:
    """A graph in the making; `nodes("Add", a, b)` adds a node and answers its output's name.

        nodes = Nodes()
        doubled = nodes("Mul", "x", nodes.constant(2.0, np.float32))

    A loop's body is made with `body()`: it sees the names around it, and its constants are kept
    outside, once.
    """

    def __init__(self, around: Nodes | None = None) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = around.initializers if around else {}
        self._taken: list[str] = around._taken if around else []

    def body(self) -> Nodes:
        """For the graph of a loop within this one."""
        return Nodes(self)

    def __call__(self, operator: str, *inputs: str, **attributes: Any) -> str:
        return self.several(operator, inputs, 1, **attributes)[0]

    def several(
        self, operator: str, inputs: Sequence[str], outputs: int, **attributes: Any
    ) -> list[str]:
        """As a call, of an operator with so many outputs; an input "" is left out."""
        names = [self.new_name(operator.lower()) for _ in range(outputs)]
        self.nodes.append(
            helper.make_node(operator, list(inputs), names, name=names[0], **attributes)
        )
        return names

    def new_name(self, meaning: str) -> str:
        """One that nothing else here has."""
        self._taken.append(f"decoding/{meaning}_{len(self._taken)}")
        return self._taken[-1]

    def named(self, value: str, name: str) -> None:
        """The same value under a name of the caller's, such as an output's."""
        self.nodes.append(helper.make_node("Identity", [value], [name], name=f"decoding/{name}"))

    def constant(self, value: Any, dtype: Any = np.int64) -> str:
        """A constant; equal ones are one."""
        array = np.asarray(value, dtype)
        shape = "x".join(map(str, array.shape)) or "scalar"
        name = f"decoding/{array.dtype}_{shape}_{'_'.join(map(str, array.flatten().tolist()))}"
        self.initializers.setdefault(name, numpy_helper.from_array(array, name))
        return name

    def splice(self, model: onnx.ModelProto, prefix: str, given: Mapping[str, str]) -> list[str]:
        """Puts a copy of a graph here. All copies under one prefix share their weights.

        Args:
            model: the graph.
            prefix: of the names of its weights.
            given: for each of its inputs, the value here that it gets.

        Returns:
            The values here that its outputs are, in their order.
        """
        graph, names = model.graph, dict(given)
        for tensor in graph.initializer:
            names[tensor.name] = f"{prefix}/{tensor.name}"
            if names[tensor.name] not in self.initializers:
                weights = onnx.TensorProto()
                weights.CopyFrom(tensor)
                weights.name = names[tensor.name]
                self.initializers[weights.name] = weights
        self.nodes += self._copied(graph.node, prefix, names)
        return [names[output.name] for output in graph.output]

    def _copied(
        self, nodes: Iterable[onnx.NodeProto], prefix: str, names: dict[str, str]
    ) -> list[onnx.NodeProto]:
        """Nodes with new names for what they make, which `names` then tells."""
        copies = []
        for node in nodes:
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            copy.name = self.new_name(f"{prefix}/{node.name or node.op_type.lower()}")
            copy.input[:] = [names[name] if name else "" for name in node.input]
            names |= {name: self.new_name(f"{prefix}/{name}") for name in node.output if name}
            copy.output[:] = [names[name] if name else "" for name in node.output]
            for attribute in copy.attribute:
                if attribute.type == onnx.AttributeProto.GRAPH:
                    self._rename_within(attribute.g, prefix, dict(names))
            copies.append(copy)
        return copies

    def _rename_within(self, graph: onnx.GraphProto, prefix: str, names: dict[str, str]) -> None:
        """A graph in a node's attribute, which sees the names around it."""
        for value in (*graph.input, *graph.initializer):
            names[value.name] = self.new_name(f"{prefix}/{value.name}")
            value.name = names[value.name]
        copies = self._copied(graph.node, prefix, names)
        del graph.node[:], graph.value_info[:]
        graph.node.extend(copies)
        for output in graph.output:
            output.name = names[output.name]


def loop(
    nodes: Nodes,
    body: Nodes,
    *,
    most: str,
    carried: Sequence[tuple[str, onnx.ValueInfoProto, str]],
    scanned: Sequence[onnx.ValueInfoProto],
    iteration: str,
    condition: str,
) -> tuple[list[str], list[str]]:
    """Adds a Loop that goes on while `condition` holds.

    Args:
        nodes: around it.
        body: what is done each time.
        most: how often at most, INT64 [].
        carried: the value at the start, what it is called in the body, and the value there that
            the next iteration gets.
        scanned: values of the body that are collected, all iterations' along a new first axis.
        iteration: what the body calls the iteration's number.
        condition: value of the body that says whether there is another iteration.

    Returns:
        What the carried values are in the end, and what was collected.
    """
    was_going = body.new_name("was_going")
    results, outputs = [], []
    for _, info, following in carried:
        results.append(body("Identity", following))
        outputs.append(onnx.ValueInfoProto())
        outputs[-1].CopyFrom(info)
        outputs[-1].name = results[-1]
    going = body("Identity", condition)
    graph = helper.make_graph(
        body.nodes,
        "step",
        [
            helper.make_tensor_value_info(iteration, onnx.TensorProto.INT64, []),
            helper.make_tensor_value_info(was_going, onnx.TensorProto.BOOL, []),
            *(info for _, info, _ in carried),
        ],
        [
            helper.make_tensor_value_info(going, onnx.TensorProto.BOOL, []),
            *outputs,
            *scanned,
        ],
    )
    is_going = nodes.constant(True, np.bool_)
    starts = [start for start, _, _ in carried]
    names = nodes.several(
        "Loop", [most, is_going, *starts], len(carried) + len(scanned), body=graph
    )
    return names[: len(carried)], names[len(carried) :]


def finish(
    nodes: Nodes,
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    name: str = "decoding",
) -> onnx.ModelProto:
    """The model, checked.

    Raises:
        onnx.checker.ValidationError: it is none.
    """
    graph = helper.make_graph(nodes.nodes, name, inputs, outputs, list(nodes.initializers.values()))
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=10,
        producer_name="wintergarden",
    )
    onnx.checker.check_model(model, full_check=True)
    return model
