"""Writing ONNX nodes as arithmetic.

A `Value` stands for a tensor of the graph under construction; `g * (1 - y * y)` appends the three
nodes that compute it. Shapes are asked for at run time (`Shape`, `Expand`, `Reshape` nodes), so one
graph serves every batch size and length; ONNX Runtime folds those that turn out constant.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from services.explanation.backprop.captures import reads
from wintergarden.errors import Unsupported

Dim = int | str | None
"""A length, the name of a length known only at run time, or nothing known."""

Shape = tuple[Dim, ...]


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor by name. An empty name is an optional input that was left out."""

    builder: Builder = field(repr=False)
    name: str
    elem_type: int = TensorProto.FLOAT
    shape: Shape | None = None

    def __bool__(self) -> bool:
        return bool(self.name)

    @property
    def rank(self) -> int:
        """Number of axes.

        Raises:
            Unsupported: shape inference could not tell.
        """
        if self.shape is None:
            raise Unsupported(f"tensor '{self.name}' has no known rank; re-export with shapes")
        return len(self.shape)

    def shaped(self, shape: Shape | None) -> Value:
        """The same tensor with what is known about its shape."""
        return replace(self, shape=shape)

    def __add__(self, other: Value | float) -> Value:
        return self._binary("Add", other)

    def __sub__(self, other: Value | float) -> Value:
        return self._binary("Sub", other)

    def __mul__(self, other: Value | float) -> Value:
        return self._binary("Mul", other)

    def __truediv__(self, other: Value | float) -> Value:
        return self._binary("Div", other)

    def __pow__(self, other: Value | float) -> Value:
        return self._binary("Pow", other)

    def __rsub__(self, other: float) -> Value:
        return self.like(other)._binary("Sub", self)

    def __rtruediv__(self, other: float) -> Value:
        return self.like(other)._binary("Div", self)

    def __matmul__(self, other: Value) -> Value:
        return self._binary("MatMul", other)

    def __neg__(self) -> Value:
        return self.builder.emit("Neg", self)

    def __gt__(self, other: Value | float) -> Value:
        return self._binary("Greater", other, TensorProto.BOOL)

    def __ge__(self, other: Value | float) -> Value:
        return self._binary("GreaterOrEqual", other, TensorProto.BOOL)

    def __lt__(self, other: Value | float) -> Value:
        return self._binary("Less", other, TensorProto.BOOL)

    def __le__(self, other: Value | float) -> Value:
        return self._binary("LessOrEqual", other, TensorProto.BOOL)

    def equals(self, other: Value | float) -> Value:
        return self._binary("Equal", other, TensorProto.BOOL)

    def where(self, yes: Value, no: Value | float) -> Value:
        """`yes` where this mask holds, else `no`."""
        other = no if isinstance(no, Value) else yes.like(no)
        return self.builder.emit("Where", self, yes, other, elem_type=yes.elem_type)

    def cast(self, elem_type: int) -> Value:
        return self.builder.emit("Cast", self, to=elem_type, elem_type=elem_type)

    @property
    def dtype(self) -> np.dtype[Any]:
        return helper.tensor_dtype_to_np_dtype(self.elem_type)

    def like(self, number: float) -> Value:
        """A scalar of this tensor's element type."""
        return self.builder.constant(np.asarray(number, self.dtype))

    def dims(self, start: int | None = None, end: int | None = None) -> Value:
        """The shape at run time, INT64 [end - start]."""
        window = {k: v for k, v in (("start", start), ("end", end)) if v is not None}
        return self.builder.emit("Shape", self, elem_type=TensorProto.INT64, **window)

    def size(self) -> Value:
        """The number of elements at run time, INT64 []."""
        return self.builder.emit("Size", self, elem_type=TensorProto.INT64)

    def reshape(self, dims: Value | Sequence[int]) -> Value:
        """Reshape; zeros in `dims` mean empty, -1 is inferred."""
        target = dims if isinstance(dims, Value) else self.builder.integers(dims)
        # allowzero forbids -1 beside 0; only a shape computed at run time can hold a literal zero.
        return self.builder.emit("Reshape", self, target, allowzero=int(isinstance(dims, Value)))

    def reshape_like(self, other: Value) -> Value:
        return self.reshape(other.dims())

    def expand_like(self, other: Value) -> Value:
        return self.builder.emit("Expand", self, other.dims())

    def unsqueeze(self, axes: Value | Sequence[int]) -> Value:
        return self.builder.emit("Unsqueeze", self, self.builder.integers(axes))

    def squeeze(self, axes: Value | Sequence[int]) -> Value:
        return self.builder.emit("Squeeze", self, self.builder.integers(axes))

    def transpose(self, perm: Sequence[int]) -> Value:
        return self.builder.emit("Transpose", self, perm=list(perm))

    def sum(self, axes: Value | Sequence[int], *, keepdims: bool = True) -> Value:
        """Sum over `axes`; none at all leaves the tensor as it is."""
        return self.builder.emit(
            "ReduceSum",
            self,
            self.builder.integers(axes),
            keepdims=int(keepdims),
            noop_with_empty_axes=1,
        )

    def mean(self, axes: Sequence[int]) -> Value:
        """Mean over `axes`, which stay with length one."""
        return self.builder.emit("ReduceMean", self, self.builder.integers(axes))

    def zeros_like(self) -> Value:
        return self.like(0).expand_like(self)

    def _binary(self, operator: str, other: Value | float, elem_type: int | None = None) -> Value:
        right = other if isinstance(other, Value) else self.like(other)
        return self.builder.emit(operator, self, right, elem_type=elem_type)


class Builder:
    """Collects nodes and constants under names that cannot clash with the forward graph's."""

    def __init__(self, taken: Iterable[str], prefix: str = "backward") -> None:
        names = set(taken)
        self._prefix = prefix
        while any(name.startswith(f"{self._prefix}/") for name in names):
            self._prefix += "_"
        self._bodies = 0
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[TensorProto] = []
        self._constants: dict[tuple[bytes, str, tuple[int, ...]], Value] = {}

    def nested(self) -> Builder:
        """For the body of a loop or a branch, whose names must differ from those around it."""
        self._bodies += 1
        return Builder([], prefix=f"{self._prefix}/body_{self._bodies}")

    def emit(
        self, operator: str, *inputs: Value, elem_type: int | None = None, **attributes: Any
    ) -> Value:
        """Append a node with one output; its element type is the first input's unless given."""
        (value,) = self.emit_many(operator, *inputs, count=1, elem_type=elem_type, **attributes)
        return value

    def emit_many(
        self,
        operator: str,
        *inputs: Value,
        count: int,
        elem_type: int | None = None,
        **attributes: Any,
    ) -> list[Value]:
        name = f"{self._prefix}/{operator}_{len(self.nodes)}"
        outputs = [name] if count == 1 else [f"{name}.{i}" for i in range(count)]
        self.nodes.append(
            helper.make_node(operator, [v.name for v in inputs], outputs, name=name, **attributes)
        )
        kind = inputs[0].elem_type if elem_type is None else elem_type
        return [Value(self, output, kind) for output in outputs]

    def publish(self, value: Value, name: str) -> None:
        """Give a tensor a name of the caller's choice."""
        self.emit("Identity", value)
        self.nodes[-1].output[0] = name

    def constant(self, array: npt.ArrayLike) -> Value:
        """A constant tensor; equal ones are stored once."""
        tensor = np.ascontiguousarray(array)
        tensor = tensor.reshape(np.shape(array))  # ascontiguousarray makes scalars 1-D
        key = (tensor.tobytes(), tensor.dtype.str, tensor.shape)
        if key not in self._constants:
            name = f"{self._prefix}/constant_{len(self.initializers)}"
            self.initializers.append(numpy_helper.from_array(tensor, name))
            elem_type = helper.np_dtype_to_tensor_dtype(tensor.dtype)
            self._constants[key] = Value(self, name, elem_type, tensor.shape)
        return self._constants[key]

    def integers(self, numbers: Value | Sequence[int]) -> Value:
        """An INT64 vector: axes, pads, a shape."""
        if isinstance(numbers, Value):
            return numbers
        return self.constant(np.asarray(numbers, np.int64).reshape(-1))

    def concat(self, parts: Sequence[Value], axis: int = 0) -> Value:
        return parts[0] if len(parts) == 1 else self.emit("Concat", *parts, axis=axis)

    def loop(
        self,
        body: Builder,
        states: tuple[Sequence[Value], Sequence[Value]],
        series: tuple[Sequence[Value], Sequence[Value]],
        results: tuple[Sequence[Value], Sequence[Value]],
        *,
        rank: int,
        is_backwards: bool,
    ) -> tuple[list[Value], list[Value]]:
        """A Scan over the first axis of series; see `scan.scan`, which writes its body.

        Args:
            body: Holds the nodes of one turn, which may use tensors from around the loop.
            states: Where the loop starts, and what the body calls them.
            series: What is looped over, and what the body calls an element of each.
            results: The body's next states, and its answers.
            rank: Of states, elements and answers; where a loop stands inside a branch, ONNX
                Runtime does not work it out.
            is_backwards: From the last element to the first; answers stay where their elements are.

        Returns:
            The last states, and the answers as series.
        """
        (starts, carried), (wholes, elements), (after, answers) = states, series, results
        formal, made = [*carried, *elements], [*after, *answers]
        graph = helper.make_graph(
            body.nodes,
            "step",
            [helper.make_tensor_value_info(v.name, v.elem_type, [None] * rank) for v in formal],
            [helper.make_tensor_value_info(v.name, v.elem_type, [None] * rank) for v in made],
            body.initializers,
        )
        outputs = self.emit_many(
            "Scan",
            *starts,
            *wholes,
            count=len(made),
            body=graph,
            num_scan_inputs=len(wholes),
            scan_input_directions=[int(is_backwards)] * len(wholes),
            scan_output_directions=[int(is_backwards)] * len(answers),
        )
        return outputs[: len(starts)], outputs[len(starts) :]

    def argument(self, number: int, like: Value) -> Value:
        """A name for an input of the loop whose body this is."""
        return Value(self, f"{self._prefix}/in_{number}", like.elem_type)

    def prune(self, needed: Iterable[str]) -> None:
        """Forget every node and constant that no tensor in `needed` depends on."""
        wanted = set(needed)
        kept: list[onnx.NodeProto] = []
        for node in reversed(self.nodes):
            if wanted.intersection(node.output):
                wanted.update(reads(node))
                kept.append(node)
        self.nodes = kept[::-1]
        self.initializers = [t for t in self.initializers if t.name in wanted]
