"""Loops over the steps of series, several steps to a turn.

A turn of ONNX Runtime's Scan costs as much as some ten small operators, whatever it does; that many
steps in each turn share it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from services.explanation.backprop.values import Builder, Value

STEPS = 4
"""In a turn. Series whose length is no multiple are padded, and the steps too many computed."""

Step = Callable[[list[Value], list[Value]], tuple[list[Value], list[Value]]]
"""(states, elements) to (next states, answers), [1, N, …] each, written as arithmetic."""


def scan(
    build: Builder,
    step: Step,
    states: Sequence[Value],
    series: Sequence[tuple[Value, float]],
    *,
    is_backwards: bool,
) -> tuple[list[Value], list[Value], Callable[[Value], Value]]:
    """A loop over the first axis of `series`: no unrolling by length, memory linear in it.

    Args:
        build: Takes the nodes.
        step: What happens at each; it may use tensors from around the loop.
        states: Where the loop starts, [N, …] each.
        series: [T, N, …] each, with what stands in the steps behind the last one.
        is_backwards: From the last step to the first; answers stay where their elements are.

    Returns:
        The states after all steps, those behind the last one included, [N, …] each; the answers,
        [T + r, N, …] each; and what cuts such a series to [T, N, …].
    """
    length = series[0][0].dims(0, 1)
    missing = build.emit("Mod", build.integers([0]) - length, build.integers([STEPS]))
    nothing = build.integers([0])
    pads = build.concat([missing, nothing] if is_backwards else [nothing, missing])
    turns = [_in_turns(whole, pads, fill) for whole, fill in series]

    body = build.nested()
    starts = [state.unsqueeze([0]) for state in states]
    carried = [body.argument(i, state) for i, state in enumerate(states)]
    elements = [body.argument(len(states) + i, whole) for i, whole in enumerate(turns)]
    after, answers = _turn(body, step, carried, elements, is_backwards=is_backwards)
    last, made = build.loop(
        body, (starts, carried), (turns, elements), (after, answers),
        rank=3, is_backwards=is_backwards,
    )  # fmt: skip

    def trim(whole: Value) -> Value:
        begin = missing if is_backwards else nothing
        return build.emit("Slice", whole, begin, begin + length, nothing)

    answered = [
        answer.reshape(build.concat([build.integers([-1]), answer.dims(2)])) for answer in made
    ]
    return [state.squeeze([0]) for state in last], answered, trim


def _in_turns(whole: Value, pads: Value, fill: float) -> Value:
    """[T, N, …] to [turns, steps, N, …]."""
    build = whole.builder
    padded = build.emit("Pad", whole, pads, whole.like(fill), build.integers([0]))
    return padded.reshape(build.concat([build.integers([-1, STEPS]), whole.dims(1)]))


def _turn(
    body: Builder,
    step: Step,
    carried: Sequence[Value],
    elements: Sequence[Value],
    *,
    is_backwards: bool,
) -> tuple[list[Value], list[Value]]:
    by_series = [
        body.emit_many("Split", element, count=STEPS, axis=0, num_outputs=STEPS)
        for element in elements
    ]
    states, answered = list(carried), []
    for now in list(zip(*by_series, strict=True))[:: -1 if is_backwards else 1]:
        states, answers = step(states, list(now))
        answered.append(answers)
    in_order = answered[::-1] if is_backwards else answered
    together = [body.concat(parts, axis=0) for parts in zip(*in_order, strict=True)]
    return states, together
