"""Recurrent layers without unrolling.

The forward operator stays as it is. All that a step's derivative needs is computed for all steps at
once from its output; one Scan against the direction of time carries the gradients by the state,
and one product gives the gradient by the inputs. Memory is linear in the length.

The gates stand in the order of the ONNX operators: i, o, f, c (LSTM) and z, r, h (GRU). How a gate
passes a gradient on is asked of a `Slopes`, so that other rules share these equations.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Protocol

from services.explanation.backprop.operation import Operation
from services.explanation.backprop.operators.direction import Direction
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
        backward(Direction.of(op, index, name == "reverse"), slopes_of)
        for index, name in enumerate(directions)
    ]
    by_x, by_h, by_c = zip(*answers, strict=True)
    gradients = [by_x[0] if len(by_x) == 1 else by_x[0] + by_x[1], None, None, None, None]
    for states in (by_h, by_c):
        known = [state.unsqueeze([0]) for state in states if state is not None]
        gradients.append(op.build.concat(known) if known else None)
    return [*gradients, None][: len(op.inputs)]


_States = tuple[Value, Value | None, Value | None]
"""Gradients by X [T, N, I], initial_h and initial_c [N, H]."""


def _lstm(d: Direction, slopes_of: SlopesOf) -> _States:
    """C = f ⊙ C₋ + i ⊙ c, H = o ⊙ tanh C."""

    def pass_of(inputs: Sequence[Value], outputs: Sequence[Value]) -> Pass:
        stacked = _summed(d, inputs[0], d.past(inputs, outputs))
        found = _activated(d, stacked, {"i": _SIGMOID, "o": _SIGMOID, "f": _SIGMOID, "c": _TANH})
        keep = d.masked(found["f"], 1)
        start = d.initial(inputs, 6)
        _, (after,), trim = d.scan(
            lambda state, now: _cell(state[0], *now),
            [start or d.zero_state(keep)],
            [(keep, 0), (d.masked(found["i"] * found["c"]), 0)],
            is_forward=True,
        )
        after = trim(after)
        found |= {"keep": keep, "before": d.earlier(after, start)}
        return found | {"cell_in": after, "cell": d.op.build.emit("Tanh", after)}

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
    (outside, by_end), r = d.incoming(by_cell), d.r

    def step(state: list[Value], now: list[Value]) -> tuple[list[Value], list[Value]]:
        (by_h, by_c), (to_cell, to_gates, keep, *from_outside) = state, now
        by_h = functools.reduce(operator.add, from_outside, by_h)
        by_c = by_c + by_h * to_cell
        by_in = by_h.builder.concat([by_c, by_h, by_c, by_c], axis=-1) * to_gates
        return [by_in @ r, by_c * keep], [by_in]

    (_, by_c), (by_in,), trim = d.scan(
        step,
        [by_end, d.gradient(2) or d.zero_state(by_cell)],
        [(by_cell, 0), (by_gates, 0), (slopes.factor("keep"), 1), *((s, 0) for s in outside)],
    )
    return trim(by_in @ d.w), d.at_start(trim(by_in)) @ r, by_c


def _cell(before: Value, keep: Value, gain: Value) -> tuple[list[Value], list[Value]]:
    after = keep * before + gain
    return [after], [after]


def _gru(d: Direction, slopes_of: SlopesOf) -> _States:
    """H = h + z ⊙ (H₋ − h); h sees the past through the reset gate r, before or after R."""
    is_reset_last, is_start_wanted = (
        bool(d.op.attribute("linear_before_reset", 0)),
        d.op.is_active(5),
    )
    parts = d.op.build.integers([2 * d.hidden_size, d.hidden_size])

    def halves(stacked: Value, axis: int = -1) -> list[Value]:
        """What belongs to the gates z and r, and to the candidate h."""
        return d.op.build.emit_many("Split", stacked, parts, count=2, axis=axis)

    def pass_of(inputs: Sequence[Value], outputs: Sequence[Value]) -> Pass:
        past = d.past(inputs, outputs)
        from_x = halves(_affine(d, inputs[0], d.w, 0))
        from_past = halves(_affine(d, past, d.r, 1))
        found = _activated(d, from_x[0] + from_past[0], {"z": _SIGMOID, "r": _SIGMOID})
        if is_reset_last:
            seen = found["r"] * from_past[1]
        else:
            seen = (found["r"] * past) @ halves(d.r, axis=0)[1].transpose([1, 0])
            if biases := d.biases():
                seen = seen + halves(biases[1])[1]
        found |= _activated(d, from_x[1] + seen, {"h": _TANH})
        return found | {
            "reset": from_past[1] if is_reset_last else past,
            "change": past - found["h"],
        }

    slopes = slopes_of(d.op, pass_of)
    keep, by_reset = slopes.factor("z"), slopes.factor("r")
    by_z = d.masked(slopes.factor("change") * slopes.activation(_SIGMOID, "z"))
    by_candidate = d.masked((1 - keep) * slopes.activation(_TANH, "h"))
    by_r = slopes.factor("reset") * slopes.activation(_SIGMOID, "r")
    (outside, by_end), r = d.incoming(by_z), d.r
    r_gates, r_candidate = halves(r, axis=0)

    def step(state: list[Value], now: list[Value]) -> tuple[list[Value], list[Value]]:
        keeping, to_z, to_candidate, to_r, reset, *from_outside = now
        by_h = functools.reduce(operator.add, from_outside, state[0])
        z_in, h_in = by_h * to_z, by_h * to_candidate
        through = h_in if is_reset_last else h_in @ r_candidate  # at r ⊙ (what it resets)
        r_in, back = through * to_r, through * reset
        if is_reset_last:  # one product: the candidate's gate sees R h as z and r do
            by_past = by_h * keeping + by_h.builder.concat([z_in, r_in, back], axis=-1) @ r
        else:
            gates = by_h.builder.concat([z_in, r_in], axis=-1)
            by_past = by_h * keeping + gates @ r_gates + back
        by_in = by_h.builder.concat([z_in, r_in, h_in], axis=-1)
        return [by_past], [by_in, by_past] if is_start_wanted else [by_in]

    rows = [keep, by_z, by_candidate, by_r, by_reset, *outside]
    _, (by_in, *by_pasts), trim = d.scan(step, [by_end], [(row, 0) for row in rows])
    by_start = d.at_start(trim(by_pasts[0])) if by_pasts else None
    return trim(by_in @ d.w), by_start, None


def _rnn(d: Direction, slopes_of: SlopesOf) -> _States:
    """H = f(W X + R H₋ + b)."""
    (function,) = _activations(d.op)[d.index : d.index + 1]

    def pass_of(inputs: Sequence[Value], outputs: Sequence[Value]) -> Pass:
        stacked = _summed(d, inputs[0], d.past(inputs, outputs))
        return {"h_in": stacked, "h": d.op.build.emit(function, stacked)}

    slope = d.masked(slopes_of(d.op, pass_of).activation(function, "h"))
    (outside, by_end), r = d.incoming(slope), d.r

    def step(state: list[Value], now: list[Value]) -> tuple[list[Value], list[Value]]:
        to_in, *from_outside = now
        by_in = functools.reduce(operator.add, from_outside, state[0]) * to_in
        return [by_in @ r], [by_in]

    _, (by_in,), trim = d.scan(step, [by_end], [(row, 0) for row in (slope, *outside)])
    return trim(by_in @ d.w), d.at_start(trim(by_in)) @ r, None


def _summed(d: Direction, x: Value, past: Value) -> Value:
    """X Wᵀ + H₋ Rᵀ + b, [T, N, G H], in two products that add to what they are given."""
    biases = d.biases()
    offset = [] if biases is None else [biases[0] + biases[1]]
    from_x = d.op.build.emit("Gemm", _rows(x), d.w, *offset, transB=1)
    total = d.op.build.emit("Gemm", _rows(past), d.r, from_x, transB=1)
    return _as_series(total, x)


def _affine(d: Direction, x: Value, weight: Value, half: int) -> Value:
    """X Wᵀ + b, [T, N, G H]."""
    biases = d.biases()
    offset = [] if biases is None else [biases[half]]
    return _as_series(d.op.build.emit("Gemm", _rows(x), weight, *offset, transB=1), x)


def _rows(series: Value) -> Value:
    """[T, N, …] as [T N, …]."""
    build = series.builder
    return series.reshape(build.concat([build.integers([-1]), series.dims(2)]))


def _as_series(rows: Value, like: Value) -> Value:
    """[T N, …] as [T, N, …]."""
    build = rows.builder
    return rows.reshape(build.concat([like.dims(0, 2), build.integers([-1])]))


def _activated(d: Direction, stacked: Value, functions: dict[str, str]) -> Pass:
    """The gates of [T, N, G H] before and after their functions."""
    found: Pass = {}
    for (gate, function), before in zip(
        functions.items(), _split(stacked, len(functions)), strict=True
    ):
        found[f"{gate}_in"], found[gate] = before, d.op.build.emit(function, before)
    return found


def _split(stacked: Value, count: int, axis: int = -1) -> list[Value]:
    if count == 1:
        return [stacked]
    build = stacked.builder
    return build.emit_many("Split", stacked, count=count, num_outputs=count, axis=axis)


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
