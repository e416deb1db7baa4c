"""One direction of a recurrent layer: its weights, its edges, and time as it sees it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from services.explanation.backprop.operation import Operation
from services.explanation.backprop.scan import Step, scan
from services.explanation.backprop.values import Value

_TO_THE_END = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Direction:
    """One direction of a layer, and time as it sees it.

    Attributes:
        op: The layer.
        index: Which of its directions.
        is_reversed: Whether the forward pass runs from the last step to the first.
        valid: [T, N, 1], true at steps within their sequence; None if all are.
    """

    op: Operation
    index: int
    is_reversed: bool
    valid: Value | None

    @classmethod
    def of(cls, op: Operation, index: int, is_reversed: bool) -> Direction:
        if not op.has_input(4):
            return cls(op, index, is_reversed, None)
        steps = count(op.inputs[0].dims(0, 1)).reshape([-1, 1, 1])
        lengths = op.inputs[4].cast(TensorProto.INT64).reshape([1, -1, 1])
        return cls(op, index, is_reversed, steps < lengths)

    @property
    def w(self) -> Value:
        """[G H, I]."""
        return self.pick(self.op.inputs[1])

    @property
    def r(self) -> Value:
        """[G H, H]."""
        return self.pick(self.op.inputs[2])

    @property
    def hidden_size(self) -> int:
        """H.

        Raises:
            Unsupported: neither the layer nor the shape of its weights says it.
        """
        length = self.op.attribute("hidden_size") or (self.op.inputs[2].shape or (None,))[-1]
        if not isinstance(length, int):
            raise self.op.refusal("neither hidden_size nor the weights say how many units it has")
        return length

    def biases(self) -> tuple[Value, Value] | None:
        """Of the inputs and of the past, [G H] each."""
        if not self.op.has_input(3):
            return None
        both = self.pick(self.op.inputs[3])
        inputs, past = self.op.build.emit_many("Split", both, count=2, num_outputs=2)
        return inputs, past

    def pick(self, stacked: Value, axis: int = 0) -> Value:
        """This direction's part of [D, …] or [T, D, …]."""
        if self.op.attribute("direction", "forward") != "bidirectional":
            return stacked.squeeze([axis])
        index = self.op.build.constant(np.int64(self.index))
        return self.op.build.emit("Gather", stacked, index, axis=axis)

    def initial(self, inputs: Sequence[Value], index: int) -> Value | None:
        """The state [N, H] the layer starts from; None stands for zeros."""
        is_given = index < len(inputs) and bool(inputs[index])
        return self.pick(inputs[index]) if is_given else None

    def gradient(self, output: int) -> Value | None:
        """By Y [T, N, H], Y_h or Y_c [N, H]; None where nothing depends on it."""
        outputs = self.op.outputs
        if output >= len(outputs) or not outputs[output]:
            return None
        arrived = self.op.gradient_of(outputs[output])
        return None if arrived is None else self.pick(arrived, axis=0 if output else 1)

    def masked(self, x: Value, other: float = 0) -> Value:
        """[T, N, …], with `other` where a sequence has ended."""
        return x if self.valid is None else self.valid.where(x, other)

    def past(self, inputs: Sequence[Value], outputs: Sequence[Value]) -> Value:
        """H₋, the output one step earlier in the order of the forward pass."""
        series = self.masked(self.pick(outputs[0], axis=1))
        return self.earlier(series, self.initial(inputs, 5))

    def earlier(self, series: Value, start: Value | None) -> Value:
        """[T, N, H] one step earlier in the order of the forward pass, from `start` on."""
        build, is_reversed = self.op.build, self.is_reversed
        if start is not None and self.valid is not None and is_reversed:
            shifted = self.earlier(series, None)
            return self._edge(series, is_start=True).where(start, shifted)
        if start is not None:
            first, last = (1, _TO_THE_END) if is_reversed else (0, -1)
            ends = map(build.integers, ([first], [last], [0]))
            parts = [start.unsqueeze([0]), build.emit("Slice", series, *ends)]
            return build.concat(parts[:: -1 if is_reversed else 1])
        shift = -1 if is_reversed else 1
        return build.emit("Pad", series, build.integers([shift, 0, 0, -shift, 0, 0]))

    def incoming(self, like: Value) -> tuple[list[Value], Value]:
        """What arrives at H from outside the layer: at each step [T, N, H], if anything, and

        at the end [N, H], where the way back starts.
        """
        by_y, by_h = self.gradient(0), self.gradient(1)
        series = [] if by_y is None else [self.masked(by_y)]
        if by_h is None:
            return series, self.zero_state(like)
        if self.valid is None:
            return series, by_h
        at_ends = self._edge(like, is_start=False).where(by_h, 0)
        return [series[0] + at_ends if series else at_ends], self.zero_state(like)

    def at_start(self, series: Value) -> Value:
        """The element of [T, N, …] where each sequence starts, [N, …]."""
        return self._edge(series, is_start=True).where(series, 0).sum([0], keepdims=False)

    def zero_state(self, like: Value) -> Value:
        """[N, H] for a series [T, N, H]."""
        return self.op.build.emit("Expand", like.like(0), like.dims(1))

    def scan(
        self,
        step: Step,
        states: Sequence[Value],
        series: Sequence[tuple[Value, float]],
        *,
        is_forward: bool = False,
    ) -> tuple[list[Value], list[Value], Callable[[Value], Value]]:
        """In the order of the forward pass, or against it; as `scan.scan`."""
        is_backwards = is_forward == self.is_reversed
        return scan(self.op.build, step, states, series, is_backwards=is_backwards)

    def _edge(self, like: Value, *, is_start: bool) -> Value:
        """Where sequences start or end in the order of the forward pass, [T, 1 or N, 1]."""
        build = self.op.build
        if is_start != self.is_reversed:
            return count(like.dims(0, 1)).equals(0).reshape([-1, 1, 1])
        if self.valid is None:
            length = like.dims(0, 1)
            return count(length).equals(length - build.integers([1])).reshape([-1, 1, 1])
        steps = self.valid.cast(TensorProto.INT64)
        return steps > build.emit("Pad", steps, build.integers([-1, 0, 0, 1, 0, 0]))


def count(length: Value) -> Value:
    """0, 1, … up to a length [1]."""
    zero, one = length.builder.constant(np.int64(0)), length.builder.constant(np.int64(1))
    return length.builder.emit("Range", zero, length.squeeze([0]), one)
