"""Beam search: the best sequences so far are kept, and all ways on from them compared.

Of K beams and V tokens the K best sums of log-probabilities go on; a beam that has ended stays as
it is. When all have ended, or the most tokens are written, the best by length-normalised score is
the answer: Wu et al., "Google's neural machine translation system", 2016, §7, eq. 14,
lp(Y) = ((5 + |Y|) / 6)^α, arXiv:1609.08144. α = 0 leaves the sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper

from trainer.decoding.network import Marks
from trainer.decoding.nodes import Nodes, loop
from trainer.decoding.parts import Parts
from trainer.decoding.writing import Written, add_step, state_info

IMPOSSIBLE = -1e30
"""A log-probability that no sum of possible ones reaches; sums of it stay finite."""


@dataclass(frozen=True)
class Beams:
    """How the search is done.

    Attributes:
        width: K.
        most: tokens that are written, at most.
        length_penalty: α.
    """

    width: int
    most: int
    length_penalty: float


def search(
    nodes: Nodes,
    parts: Parts,
    marks: Marks,
    beams: Beams,
    *,
    states: Sequence[str],
    memories: Sequence[str],
    rows: str,
) -> Written:
    """Adds the search.

    Args:
        nodes: to add to.
        parts: of the network.
        marks: of the tokens it writes; with begin and end.
        beams: how.
        states: the first ones.
        memories: what it writes about.
        rows: INT64 [1], how many sources there are.
    """
    body, one, width = nodes.body(), nodes.constant(1), beams.width
    states = [_repeated(nodes, name, width) for name in states]
    memories = [_repeated(nodes, name, width) for name in memories]
    every = nodes("Mul", rows, nodes.constant([width]))
    grid = nodes("Concat", rows, nodes.constant([width]), axis=0)
    # Where each row's beams begin, (N, 1).
    row_numbers = nodes("Range", nodes.constant(0), nodes("Squeeze", rows), one)
    offsets = nodes("Unsqueeze", nodes("Mul", row_numbers, nodes.constant(width)), one)

    iteration = body.new_name("iteration")
    token, done = body.new_name("token"), body.new_name("done")
    scores, lengths = body.new_name("scores"), body.new_name("lengths")
    history, attended = body.new_name("history"), body.new_name("attended")
    own = [body.new_name(state.name) for state in parts.states]

    stepped = add_step(body, parts, token, own, memories)
    likely = body("LogSoftmax", stepped.logits, axis=1)
    best, beam, chosen = _ways_on(body, marks, (width, parts.classes), likely, (done, scores))
    source = body("Reshape", body("Add", beam, offsets), nodes.constant([-1]))
    was_done = body("GatherElements", done, beam, axis=1)
    is_written = body("Not", was_done)
    now = body(
        "Add",
        body("GatherElements", lengths, beam, axis=1),
        body("Cast", is_written, to=TensorProto.INT64),
    )
    is_done = body("Or", was_done, body("Equal", chosen, nodes.constant(marks.end)))
    flags = body("Cast", is_done, to=TensorProto.INT64)
    is_going = body("Not", body("Cast", body("ReduceMin", flags, keepdims=0), to=TensorProto.BOOL))
    following = body("Reshape", chosen, nodes.constant([-1, 1]))

    def grown(value: str, column: str) -> str:
        return body("Concat", body("Gather", value, source, axis=0), column, axis=1)

    def wide(value: str, columns: str, *more: str) -> str:
        shape = nodes("Concat", every, columns, *more, axis=0)
        return nodes("Expand", value, shape)

    # All beams begin alike; one is enough to go on from.
    start = nodes.constant([[0.0, *[IMPOSSIBLE] * (width - 1)]], np.float32)
    none, single = nodes.constant([0]), nodes.constant([1])
    begin, still = nodes.constant([[marks.begin]]), nodes.constant(False, np.bool_)
    in_grid: list[str | int] = ["batch", width]
    carried = [
        (wide(begin, single), _info(token, TensorProto.INT64, ["beams", 1]), following),
        (nodes("Expand", still, grid), _info(done, TensorProto.BOOL, in_grid), is_done),
        (nodes("Expand", start, grid), _info(scores, TensorProto.FLOAT, in_grid), best),
        (nodes("Expand", none, grid), _info(lengths, TensorProto.INT64, in_grid), now),
        (
            wide(nodes.constant(0), none),
            _info(history, TensorProto.INT64, None),
            grown(history, following),
        ),
    ]
    for first, name, state, left in zip(states, own, parts.states, stepped.states, strict=True):
        going_on = body("Gather", left, source, axis=0)
        carried.append((first, state_info(name, state, "beams"), going_on))
    if stepped.attention is not None:
        there = body("Reshape", is_written, nodes.constant([-1, 1]))
        nothing = nodes.constant(0.0, np.float32)
        looked = body("Where", there, body("Gather", stepped.attention, source, axis=0), nothing)
        sources = nodes("Shape", memories[0], start=1, end=2)
        carried.append(
            (
                wide(nothing, none, sources),
                _info(attended, TensorProto.FLOAT, None),
                grown(attended, body("Unsqueeze", looked, one)),
            )
        )
    ends, _ = loop(
        nodes,
        body,
        most=nodes.constant(beams.most),
        carried=carried,
        scanned=[],
        iteration=iteration,
        condition=is_going,
    )
    attention = ends[-1] if stepped.attention is not None else None
    found = Written(tokens=ends[4], lengths=ends[3], scores=ends[2], attention=attention)
    return _winners(nodes, found, offsets, beams.length_penalty)


def _ways_on(
    body: Nodes, marks: Marks, shape: tuple[int, int], likely: str, beams: tuple[str, str]
) -> tuple[str, str, str]:
    """The best K of all beams' tokens: their sums, of which beam each is, and the token; (N, K).

    Args:
        body: to add to.
        marks: for the padding, which is all that follows an end.
        shape: (K, V).
        likely: log-probabilities, FP32 [N · K, V].
        beams: which have ended, BOOL [N, K], and their sums, FP32 [N, K].
    """
    (width, classes), (done, scores), two = shape, beams, body.constant(2)
    likely = body("Reshape", likely, body.constant([-1, width, classes]))
    stays = np.full((1, 1, classes), IMPOSSIBLE)
    stays[..., marks.padding] = 0.0
    only_padding = body.constant(stays, np.float32)
    likely = body("Where", body("Unsqueeze", done, two), only_padding, likely)
    totals = body("Add", likely, body("Unsqueeze", scores, two))
    flat = body("Reshape", totals, body.constant([-1, width * classes]))
    best, places = body.several("TopK", [flat, body.constant([width])], 2, axis=1)
    count = body.constant(classes)
    return best, body("Div", places, count), body("Mod", places, count)


def _winners(nodes: Nodes, found: Written, offsets: str, length_penalty: float) -> Written:
    """Of each row the beam with the best normalised score, as wide as the longest of them."""
    ones = nodes.constant([1])
    counts = nodes("Cast", found.lengths, to=TensorProto.FLOAT)
    longer = nodes("Add", counts, nodes.constant(5.0, np.float32))
    penalty = nodes(
        "Pow",
        nodes("Div", longer, nodes.constant(6.0, np.float32)),
        nodes.constant(length_penalty, np.float32),
    )
    normalised = nodes("Div", found.scores, penalty)
    winner = nodes("ArgMax", normalised, axis=1, keepdims=1)  # (N, 1)
    place = nodes("Reshape", nodes("Add", winner, offsets), nodes.constant([-1]))

    def of_winners(grid: str) -> str:
        return nodes("Squeeze", nodes("GatherElements", grid, winner, axis=1), ones)

    lengths = of_winners(found.lengths)
    longest = nodes("ReduceMax", lengths, nodes.constant([0]), keepdims=1)

    def cut(value: str) -> str:
        won = nodes("Gather", value, place, axis=0)
        return nodes("Slice", won, nodes.constant([0]), longest, ones)

    attention = None if found.attention is None else cut(found.attention)
    return Written(cut(found.tokens), lengths, of_winners(normalised), attention)


def _info(name: str, kind: int, shape: list[str | int] | None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def _repeated(nodes: Nodes, value: str, times: int) -> str:
    """(N, …) to (N · times, …), each row's copies side by side."""
    shape = nodes("Shape", value)
    rest = nodes("Slice", shape, *(nodes.constant([e]) for e in (1, 2**31)))
    rows = nodes("Slice", shape, *(nodes.constant([e]) for e in (0, 1)))
    wide = nodes("Concat", rows, nodes.constant([times]), rest, axis=0)
    copies = nodes("Expand", nodes("Unsqueeze", value, nodes.constant([1])), wide)
    return nodes("Reshape", copies, nodes("Concat", nodes.constant([-1]), rest, axis=0))
