"""Recurrent layers without unrolling.

The forward operator stays as it is. All that a step's derivative needs is computed for all steps at
once from its output; one Scan against the direction of time carries the gradients by the state,
and one product gives the gradient by the inputs. Memory is linear in the length.

The gates stand in the order of the ONNX operators: i, o, f, c (LSTM) and z, r, h (GRU). How a gate
passes a gradient on is asked of a `Slopes`, so that other rules share these equations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from onnx import TensorProto

from services.explanation.backprop.operation import Operation
from services.explanation.backprop.rules import Gradients, RuleTable
from services.explanation.backprop.values import Value

rules = RuleTable()

Pass = dict[str, Value]
"""What one pass over the sequence gives, [T, N, H] each: gates, and before activation `_in`."""

PassOf = Callable[[Sequence[Value], Sequence[Value]], Pass]
"""From an operator's inputs and outputs."""

_SIGMOID, _TANH = "Sigmoid", "Tanh"
_DEFAULTS = {"LSTM": [_SIGMOID, _TANH, _TANH], "GRU": [_SIGMOID, _TANH], "RNN": [_TANH]}


class Slopes(Protocol):
    """The local derivatives of a step."""

    def activation(self, function: str, name: str) -> Value:
        """Of `function`, which makes `name` out of `name_in`."""

    def factor(self, name: str) -> Value:
        """Of a product by its other factor."""


SlopesOf = Callable[[Operation, PassOf], Slopes]


class Tangents:
    """The derivatives themselves."""

    def __init__(self, op: Operation, pass_of: PassOf) -> None:
        self._pass = pass_of(op.inputs, op.outputs)

    def activation(self, function: str, name: str) -> Value:
        return derivative(function, self._pass[name])

    def factor(self, name: str) -> Value:
        return self._pass[name]


def derivative(function: str, y: Value) -> Value:
    """Of an activation, from what it gave."""
    if function == "Relu":
        return (y > 0).where(y.like(1), 0)
    return y * (1 - y) if function == _SIGMOID else 1 - y * y


@rules("LSTM", "GRU", "RNN")
def recurrent(op: Operation, g: Value) -> Gradients:
    return recurrent_by(Tangents, op)


def recurrent_by(slopes_of: SlopesOf, op: Operation) -> Gradients:
    """The gradients by X and the initial states, summed over directions."""
    _check(op)
    op = replace(op, outputs=(op.extra_output(0, op.inputs[0].elem_type), *op.outputs[1:]))
    kind = op.attribute("direction", "forward")
    directions = ["forward", "reverse"] if kind == "bidirectional" else [kind]
    backward = {"LSTM": _lstm, "GRU": _gru, "RNN": _rnn}[op.node.op_type]
    answers = [
        backward(_Direction.of(op, index, name == "reverse"), slopes_of)
        for index, name in enumerate(directions)
    ]
    by_x, by_h, by_c = zip(*answers, strict=True)
    gradients = [by_x[0] if len(by_x) == 1 else by_x[0] + by_x[1], None, None, None, None]
    for states in (by_h, by_c):
        known = [state.unsqueeze([0]) for state in states if state is not None]
        gradients.append(op.build.concat(known) if known else None)
    return [*gradients, None][: len(op.inputs)]


@dataclass(frozen=True)
class _Direction:
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
    def of(cls, op: Operation, index: int, is_reversed: bool) -> _Direction:
        if not op.has_input(4):
            return cls(op, index, is_reversed, None)
        steps = _count(op.inputs[0].dims(0, 1)).reshape([-1, 1, 1])
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

    def biases(self) -> tuple[Value, Value] | None:
        """Of the inputs and of the past, [G H] each."""
        if not self.op.has_input(3):
            return None
        both = self.pick(self.op.inputs[3])
        inputs, past = self.op.build.emit_many("Split", both, count=2, num_outputs=2)
        return inputs, past

    def pick(self, stacked: Value, axis: int = 0) -> Value:
        """This direction's part of [D, …] or [T, D, …]."""
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
        shift = -1 if self.is_reversed else 1
        pads = self.op.build.integers([shift, 0, 0, -shift, 0, 0])
        shifted = self.op.build.emit("Pad", series, pads)
        start = self.initial(inputs, 5)
        return shifted if start is None else self._edge(series, is_start=True).where(start, shifted)

    def incoming(self, like: Value) -> Value:
        """What arrives at H of each step from outside the layer, [T, N, H]."""
        by_y, by_h = self.gradient(0), self.gradient(1)
        everywhere = like.zeros_like() if by_y is None else self.masked(by_y)
        if by_h is None:
            return everywhere
        return everywhere + self._edge(like, is_start=False).where(by_h, 0)

    def at_start(self, series: Value) -> Value:
        """The element of [T, N, …] where each sequence starts, [N, …]."""
        return self._edge(series, is_start=True).where(series, 0).sum([0], keepdims=False)

    def zero_state(self, like: Value) -> Value:
        """[N, H] for a series [T, N, H]."""
        return self.op.build.emit("Expand", like.like(0), like.dims(1))

    def scan(
        self,
        step: Callable[[list[Value], list[Value]], tuple[list[Value], list[Value]]],
        states: Sequence[Value],
        series: Sequence[Value],
        *,
        is_forward: bool = False,
    ) -> tuple[list[Value], list[Value]]:
        """In the order of the forward pass, or against it."""
        return self.op.build.scan(
            step, states, series, rank=2, is_backwards=is_forward == self.is_reversed
        )

    def _edge(self, like: Value, *, is_start: bool) -> Value:
        """Where sequences start or end in the order of the forward pass, [T, 1 or N, 1]."""
        build = self.op.build
        if is_start != self.is_reversed:
            return _count(like.dims(0, 1)).equals(0).reshape([-1, 1, 1])
        if self.valid is None:
            length = like.dims(0, 1)
            return _count(length).equals(length - build.integers([1])).reshape([-1, 1, 1])
        steps = self.valid.cast(TensorProto.INT64)
        return steps > build.emit("Pad", steps, build.integers([-1, 0, 0, 1, 0, 0]))


_States = tuple[Value, Value | None, Value | None]
"""Gradients by X [T, N, I], initial_h and initial_c [N, H]."""


def _lstm(d: _Direction, slopes_of: SlopesOf) -> _States:
    """C = f ⊙ C₋ + i ⊙ c, H = o ⊙ tanh C."""

    def pass_of(inputs: Sequence[Value], outputs: Sequence[Value]) -> Pass:
        stacked = _affine(d, inputs[0], d.w, 0) + _affine(d, d.past(inputs, outputs), d.r, 1)
        found = _activated(d, stacked, {"i": _SIGMOID, "o": _SIGMOID, "f": _SIGMOID, "c": _TANH})
        found["keep"] = d.masked(found["f"], 1)
        start = d.initial(inputs, 6) or d.zero_state(found["f"])
        gain = d.masked(found["i"] * found["c"])
        _, (before, after) = d.scan(
            lambda state, now: _cell(state[0], *now), [start], [found["keep"], gain],
            is_forward=True,
        )  # fmt: skip
        cell = d.op.build.emit("Tanh", after)
        return found | {"before": before, "cell_in": after, "cell": cell}

    slopes = slopes_of(d.op, pass_of)
    by_cell = d.masked(slopes.factor("o") * slopes.activation(_TANH, "cell"))
    gates = [
        slopes.factor(other) * slopes.activation(function, gate)
        for gate, other, function in (
            ("i", "c", _SIGMOID),
            ("o", "cell", _SIGMOID),
            ("f", "before", _SIGMOID),
            ("c", "i", _TANH),
        )
    ]
    by_gates = d.masked(d.op.build.concat(gates, axis=-1))
    incoming, r = d.incoming(by_cell), d.r

    def step(state: list[Value], now: list[Value]) -> tuple[list[Value], list[Value]]:
        (by_h, by_c), (from_outside, to_cell, to_gates, keep) = state, now
        by_h = by_h + from_outside
        by_c = by_c + by_h * to_cell
        by_in = by_h.builder.concat([by_c, by_h, by_c, by_c], axis=-1) * to_gates
        return [by_in @ r, by_c * keep], [by_in]

    zero = d.zero_state(by_cell)
    (_, by_c), (by_in,) = d.scan(
        step, [zero, d.gradient(2) or zero], [incoming, by_cell, by_gates, slopes.factor("keep")]
    )
    return by_in @ d.w, d.at_start(by_in) @ r, by_c


def _cell(before: Value, keep: Value, gain: Value) -> tuple[list[Value], list[Value]]:
    after = keep * before + gain
    return [after], [before, after]


def _gru(d: _Direction, slopes_of: SlopesOf) -> _States:
    """H = h + z ⊙ (H₋ − h); h sees the past through the reset gate r, before or after R."""
    is_reset_last = bool(d.op.attribute("linear_before_reset", 0))

    def pass_of(inputs: Sequence[Value], outputs: Sequence[Value]) -> Pass:
        past = d.past(inputs, outputs)
        from_x = _split(_affine(d, inputs[0], d.w, 0), 3, axis=-1)
        from_past = _split(_affine(d, past, d.r, 1), 3, axis=-1)
        ins = d.op.build.concat([a + b for a, b in zip(from_x[:2], from_past[:2], strict=True)], -1)
        found = _activated(d, ins, {"z": _SIGMOID, "r": _SIGMOID})
        if is_reset_last:
            seen = found["r"] * from_past[2]
        else:
            seen = (found["r"] * past) @ _split(d.r, 3)[2].transpose([1, 0])
            if biases := d.biases():
                seen = seen + _split(biases[1], 3)[2]
        found |= _activated(d, from_x[2] + seen, {"h": _TANH})
        return found | {
            "reset": from_past[2] if is_reset_last else past,
            "change": past - found["h"],
        }

    slopes = slopes_of(d.op, pass_of)
    keep, by_reset = slopes.factor("z"), slopes.factor("r")
    by_z = d.masked(slopes.factor("change") * slopes.activation(_SIGMOID, "z"))
    by_candidate = d.masked((1 - keep) * slopes.activation(_TANH, "h"))
    by_r = slopes.factor("reset") * slopes.activation(_SIGMOID, "r")
    incoming, r = d.incoming(by_z), d.r
    r_gates = d.op.build.concat(_split(r, 3)[:2])
    r_candidate = _split(r, 3)[2]

    def step(state: list[Value], now: list[Value]) -> tuple[list[Value], list[Value]]:
        from_outside, keeping, to_z, to_candidate, to_r, reset = now
        by_h = state[0] + from_outside
        z_in, h_in = by_h * to_z, by_h * to_candidate
        through = h_in if is_reset_last else h_in @ r_candidate  # at r ⊙ (what it resets)
        r_in = through * to_r
        gates = by_h.builder.concat([z_in, r_in], axis=-1)
        back = through * reset
        back = back @ r_candidate if is_reset_last else back
        by_past = by_h * keeping + gates @ r_gates + back
        return [by_past], [by_h.builder.concat([gates, h_in], axis=-1), by_past]

    _, (by_in, by_past) = d.scan(
        step, [d.zero_state(by_z)], [incoming, keep, by_z, by_candidate, by_r, by_reset]
    )
    return by_in @ d.w, d.at_start(by_past), None


def _rnn(d: _Direction, slopes_of: SlopesOf) -> _States:
    """H = f(W X + R H₋ + b)."""
    (function,) = _activations(d.op)[d.index : d.index + 1]

    def pass_of(inputs: Sequence[Value], outputs: Sequence[Value]) -> Pass:
        stacked = _affine(d, inputs[0], d.w, 0) + _affine(d, d.past(inputs, outputs), d.r, 1)
        return {"h_in": stacked, "h": d.op.build.emit(function, stacked)}

    slope = d.masked(slopes_of(d.op, pass_of).activation(function, "h"))
    r = d.r

    def step(state: list[Value], now: list[Value]) -> tuple[list[Value], list[Value]]:
        by_in = (state[0] + now[0]) * now[1]
        return [by_in @ r], [by_in]

    _, (by_in,) = d.scan(step, [d.zero_state(slope)], [d.incoming(slope), slope])
    return by_in @ d.w, d.at_start(by_in) @ r, None


def _affine(d: _Direction, x: Value, weight: Value, half: int) -> Value:
    """X Wᵀ + b, [T, N, G H]."""
    product = x @ weight.transpose([1, 0])
    biases = d.biases()
    return product if biases is None else product + biases[half]


def _activated(d: _Direction, stacked: Value, functions: dict[str, str]) -> Pass:
    """The gates of [T, N, G H] before and after their functions."""
    found: Pass = {}
    for (gate, function), before in zip(
        functions.items(), _split(stacked, len(functions), axis=-1), strict=True
    ):
        found[f"{gate}_in"], found[gate] = before, d.op.build.emit(function, before)
    return found


def _split(stacked: Value, count: int, axis: int = 0) -> list[Value]:
    if count == 1:
        return [stacked]
    build = stacked.builder
    return build.emit_many("Split", stacked, count=count, num_outputs=count, axis=axis)


def _count(length: Value) -> Value:
    """0, 1, … up to a length [1]."""
    zero, one = length.builder.constant(np.int64(0)), length.builder.constant(np.int64(1))
    return length.builder.emit("Range", zero, length.squeeze([0]), one)


def _activations(op: Operation) -> list[str]:
    default = _DEFAULTS[op.node.op_type]
    count = 2 if op.attribute("direction", "forward") == "bidirectional" else 1
    given = op.attribute("activations", default * count)
    return [name.decode() if isinstance(name, bytes) else name for name in given]


def _check(op: Operation) -> None:
    """Refuse the variants that no exporter of the known frameworks writes."""
    default = _DEFAULTS[op.node.op_type]
    activations = _activations(op)
    is_plain = activations == default * (len(activations) // len(default))
    if not is_plain and not (op.node.op_type == "RNN" and set(activations) <= {"Tanh", "Relu"}):
        raise op.refusal(f"activations {', '.join(activations)}")
    for name in ("clip", "input_forget", "layout"):
        if op.attribute(name, 0):
            raise op.refusal(f"{name}={op.attribute(name)}")
    if op.has_input(7):
        raise op.refusal("peephole connections")
    if any(op.is_active(index) for index in (1, 2, 3)):
        raise op.refusal("weights that depend on the input")
