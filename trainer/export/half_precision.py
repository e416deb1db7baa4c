"""A graph whose heavy operators compute in float16, as `torch.autocast` would choose.

Micikevicius et al., "Mixed precision training", ICLR 2018, §3: products in float16, what is
sensitive (sums over many values, exponentials, what comes before the first weights) in float32.
Inputs and outputs of the graph keep their datatypes.
"""

from __future__ import annotations

import numpy as np
import onnx
import onnx_ir as ir

from trainer.export.operators import HEAVY
from wintergarden.errors import Unsupported

FULL, HALF = ir.DataType.FLOAT, ir.DataType.FLOAT16

# Take the datatype that they are fed: each element of what they answer depends on few of what
# they are given, and is no larger by much.
_FOLLOWING = frozenset(
    {
        "Add", "Clip", "Concat", "Dropout", "Expand", "Flatten", "Gather", "HardSigmoid",
        "HardSwish", "Identity", "LeakyRelu", "MaxPool", "Max", "Min", "Mul", "Pad", "Relu",
        "Reshape", "Sigmoid", "Slice", "Squeeze", "Sub", "Tanh", "Transpose", "Unsqueeze",
    }
)  # fmt: skip


def to_half_precision(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph in mixed precision.

    Raises:
        Unsupported: it has nothing that float16 makes smaller or faster, a weight beyond
            float16's range, or a loop or branch.
    """
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    mixed = ir.from_proto(inferred)
    _Rewriting(mixed.graph).run()
    rewritten = ir.to_proto(mixed)
    onnx.checker.check_model(rewritten, full_check=True)
    return rewritten


class _Rewriting:
    def __init__(self, graph: ir.Graph) -> None:
        self._graph = graph
        self._other: dict[ir.Value, ir.Value] = {}
        """By value, the same in the other datatype."""

    def run(self) -> None:
        nodes = list(self._graph)
        if not any(node.op_type in HEAVY for node in nodes):
            raise Unsupported(f"no operator to compute in float16: no {', '.join(sorted(HEAVY))}")
        for node in nodes:
            self._rewrite(node)
        for index, output in enumerate(self._graph.outputs):
            if output.dtype == HALF:
                self._restore(index, output)
        for name, value in list(self._graph.initializers.items()):
            if not value.uses() and not value.is_graph_output():
                del self._graph.initializers[name]

    def _rewrite(self, node: ir.Node) -> None:
        if any(
            a.type in (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
            for a in node.attributes.values()
        ):
            raise Unsupported(f"loops and branches stay in float32: {node.op_type} {node.name!r}")
        is_half = node.op_type in HEAVY or (node.op_type in _FOLLOWING and _is_fed_half(node))
        wanted = HALF if is_half else FULL
        for index, value in enumerate(node.inputs):
            if value is not None and value.dtype in (FULL, HALF) and value.dtype != wanted:
                node.replace_input_with(index, self._in(wanted, value, node))
        if is_half:
            for value in node.outputs:
                if value.dtype == FULL:
                    value.dtype = HALF

    def _in(self, wanted: ir.DataType, value: ir.Value, user: ir.Node) -> ir.Value:
        if value not in self._other:
            weight = ir.convenience.get_const_tensor(value)
            if weight is not None and wanted == HALF:
                self._other[value] = self._half_weight(value, weight.numpy())
            else:
                self._other[value] = self._cast(wanted, value, user)
        return self._other[value]

    def _half_weight(self, value: ir.Value, weight: np.ndarray) -> ir.Value:
        largest = float(np.abs(weight).max(initial=0.0))
        if not largest <= float(np.finfo(np.float16).max):
            raise Unsupported(f"weight {value.name!r} reaches {largest:.3g}; float16 ends at 65504")
        tensor = ir.tensor(weight.astype(np.float16), name=f"{value.name}_fp16")
        half = ir.Value(
            name=tensor.name, type=ir.TensorType(HALF), shape=value.shape, const_value=tensor
        )
        self._graph.register_initializer(half)
        return half

    def _cast(self, wanted: ir.DataType, value: ir.Value, user: ir.Node) -> ir.Value:
        """Before its first user; the others come later in the order of the graph."""
        name = f"{value.name}_{'fp16' if wanted == HALF else 'fp32'}"
        cast = ir.Value(name=name, type=ir.TensorType(wanted), shape=value.shape)
        node = ir.node("Cast", [value], {"to": int(wanted)}, outputs=[cast], name=f"Cast_{name}")
        self._graph.insert_before(user, node)
        return cast

    def _restore(self, index: int, output: ir.Value) -> None:
        """Casts an output back, under its name."""
        name = output.name
        output.name = f"{name}_fp16"
        cast = ir.Value(name=name, type=ir.TensorType(FULL), shape=output.shape)
        self._graph.append(
            ir.node("Cast", [output], {"to": int(FULL)}, outputs=[cast], name=f"Cast_{name}")
        )
        self._graph.outputs[index] = cast


def _is_fed_half(node: ir.Node) -> bool:
    """Whether every input that is computed is in float16 already; constants follow."""
    computed = [
        value
        for value in node.inputs
        if value is not None
        and value.dtype in (FULL, HALF)
        and ir.convenience.get_const_tensor(value) is None
    ]
    return bool(computed) and all(value.dtype == HALF for value in computed)
