"""The loop that writes one token after another, each chosen by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper

from trainer.decoding.choosing import Choose
from trainer.decoding.network import Marks, State
from trainer.decoding.nodes import Nodes, loop
from trainer.decoding.parts import TOKEN, Parts

_TYPES = {"FP32": TensorProto.FLOAT, "INT64": TensorProto.INT64}
STEP = "step"
"""Prefix of the step's weights, wherever they are used."""


@dataclass(frozen=True)
class Written:
    """Names of what was written.

    Attributes:
        tokens: INT64 [N, I], a column for each iteration; padding where nothing was written.
        lengths: INT64 [N], how many were written, the end's among them.
        scores: FP32 [N], sums of their log-probabilities.
        attention: FP32 [N, I, S], or None.
    """

    tokens: str
    lengths: str
    scores: str
    attention: str | None


@dataclass(frozen=True)
class Stepped:
    """Names of what a step answered."""

    logits: str
    states: list[str]
    attention: str | None


def add_step(
    nodes: Nodes, parts: Parts, token: str, states: Sequence[str], memories: Sequence[str]
) -> Stepped:
    """The step's graph on these values."""
    given = {TOKEN: token}
    given |= {state.name: name for state, name in zip(parts.states, states, strict=True)}
    given |= dict(zip(parts.memories, memories, strict=True))
    logits, *rest = nodes.splice(parts.step, STEP, given)
    count = len(parts.states)
    return Stepped(logits, rest[:count], rest[count] if parts.attends else None)


def state_info(name: str, state: State, batch: str = "batch") -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, _TYPES[state.datatype], [batch, *state.shape])


def write(
    nodes: Nodes,
    parts: Parts,
    marks: Marks,
    choose: Choose,
    *,
    states: Sequence[str],
    memories: Sequence[str],
    prompt: str,
    given: str,
    most: str,
) -> Written:
    """Adds the loop.

    Args:
        nodes: to add to.
        parts: of the network.
        marks: of the tokens it writes.
        choose: what follows.
        states: the first ones.
        memories: what it writes about.
        prompt: INT64 [N, P], tokens to read before the first is written.
        given: INT64 [N], how many of them there are; 1 at least.
        most: INT64 [1], how many tokens are written, at most; 1 at least.
    """
    body, zero, one = nodes.body(), nodes.constant(0), nodes.constant(1)
    rows = nodes("Shape", given)
    last_place = nodes("Sub", nodes("Shape", prompt, start=1, end=2), one)
    iterations = nodes("Add", nodes("ReduceMax", given, keepdims=0), nodes("Sub", most, one))
    iterations = nodes("Squeeze", iterations)
    iteration = body.new_name("iteration")
    token, done = body.new_name("token"), body.new_name("done")
    scores, lengths = body.new_name("scores"), body.new_name("lengths")
    own = [body.new_name(state.name) for state in parts.states]

    read = body("Gather", prompt, body("Min", iteration, last_place), axis=1)  # [N, 1]
    is_given = body("Less", iteration, given)
    read = body("Where", body("Unsqueeze", is_given, one), read, body("Unsqueeze", token, one))
    stepped = add_step(body, parts, read, own, memories)
    chosen = choose(body, stepped.logits, iteration)
    log_probabilities = body("LogSoftmax", stepped.logits, axis=1)
    picked = body("GatherElements", log_probabilities, body("Unsqueeze", chosen, one), axis=1)
    writes = body("GreaterOrEqual", body("Add", iteration, one), given)
    is_written = body("And", writes, body("Not", done))
    nothing = body.constant(0.0, np.float32)
    gained = body("Where", is_written, body("Squeeze", picked, nodes.constant([1])), nothing)
    now = body("Add", lengths, body("Cast", is_written, to=TensorProto.INT64))
    ends = body("GreaterOrEqual", now, most)
    if marks.end is not None:
        ends = body("Or", ends, body("Equal", chosen, nodes.constant(marks.end)))
    is_done = body("Or", done, body("And", is_written, ends))
    is_going = body("Not", _all(body, is_done))
    shown = [body("Where", is_written, chosen, nodes.constant(marks.padding))]
    scanned = [helper.make_tensor_value_info(shown[0], TensorProto.INT64, ["batch"])]
    if stepped.attention is not None:
        there = body("Unsqueeze", is_written, one)
        shown.append(body("Where", there, stepped.attention, nothing))
        scanned.append(
            helper.make_tensor_value_info(shown[1], TensorProto.FLOAT, ["batch", "source"])
        )

    def carried(name: str, kind: int) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, kind, ["batch"])

    padding, still = nodes.constant(marks.padding), nodes.constant(False, np.bool_)
    zeros = nodes("Expand", zero, rows)
    ends_of, collected = loop(
        nodes,
        body,
        most=iterations,
        carried=[
            (nodes("Expand", padding, rows), carried(token, TensorProto.INT64), chosen),
            (nodes("Expand", still, rows), carried(done, TensorProto.BOOL), is_done),
            (
                nodes("Cast", zeros, to=TensorProto.FLOAT),
                carried(scores, TensorProto.FLOAT),
                body("Add", scores, gained),
            ),
            (zeros, carried(lengths, TensorProto.INT64), now),
            *(
                (first, state_info(name, state), following)
                for first, name, state, following in zip(
                    states, own, parts.states, stepped.states, strict=True
                )
            ),
        ],
        scanned=scanned,
        iteration=iteration,
        condition=is_going,
    )
    attention = None
    if len(collected) > 1:
        attention = nodes("Transpose", collected[1], perm=[1, 0, 2])
    tokens = nodes("Transpose", collected[0], perm=[1, 0])
    return Written(tokens, lengths=ends_of[3], scores=ends_of[2], attention=attention)


def _all(nodes: Nodes, flags: str) -> str:
    """Whether all of [N] hold, BOOL []."""
    numbers = nodes("Cast", flags, to=TensorProto.INT64)
    return nodes("Cast", nodes("ReduceMin", numbers, keepdims=0), to=TensorProto.BOOL)
