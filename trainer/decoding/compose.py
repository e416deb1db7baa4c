"""Whole-sequence graphs: a network's parts with the loop around them, in one ONNX file.

parts = translator_parts(network, {"source": ids}, axes=(1,))
model = compose_translator(parts, Marks(begin=2, end=3), max_tokens=12, beam_width=4)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper

from trainer.decoding import beam
from trainer.decoding.choosing import most_likely, sampled
from trainer.decoding.network import MAX_WRITTEN, Marks
from trainer.decoding.nodes import Nodes, finish
from trainer.decoding.parts import ATTENTION, Parts
from trainer.decoding.randomness import seed_words
from trainer.decoding.writing import Written, add_step, write
from wintergarden.errors import InvalidArgument

TOKENS, LENGTHS, SCORES = "tokens", "lengths", "scores"
PROMPT, PREFIX, LOG_PROBABILITIES = "prompt", "prefix", "log_probabilities"
ENCODER = "encoder"

SETTINGS = {
    "max_tokens": TensorProto.INT64,
    "temperature": TensorProto.FLOAT,
    "top_k": TensorProto.INT64,
    "top_p": TensorProto.FLOAT,
    "seed": TensorProto.INT64,
}
"""Inputs of shape [1] that say how a language model writes."""


def compose_translator(
    parts: Parts,
    marks: Marks,
    max_tokens: int,
    *,
    beam_width: int = 1,
    length_penalty: float = 0.0,
) -> onnx.ModelProto:
    """From a source to what is written about it, in one call.

    Inputs are the encoder's. Outputs: `tokens` INT64 [N, T], what was written, the end's id where
    it ended and padding after it; `lengths` INT64 [N], how many, the end among them; `scores`
    FP32 [N], the sum of their log-probabilities, of a beam search divided by the length's penalty;
    and of a network that attends `attention` FP32 [N, T, S]. T is that of the longest answer.

    Args:
        parts: of the network.
        marks: of the tokens; with begin and end.
        max_tokens: that are written at most, the end among them.
        beam_width: of the search; 1 takes the most likely token each time.
        length_penalty: α of `beam`.

    Raises:
        InvalidArgument: there is no encoder, or no begin or end.
    """
    if parts.encoder is None or marks.begin is None or marks.end is None:
        raise InvalidArgument("writing about a source needs an encoder, a begin and an end")
    nodes = Nodes()
    encoder = parts.encoder.graph
    found = nodes.splice(parts.encoder, ENCODER, {v.name: v.name for v in encoder.input})
    memories, states = found[: len(parts.memories)], found[len(parts.memories) :]
    rows = nodes("Shape", encoder.input[0].name, start=0, end=1)
    if beam_width > 1:
        written = beam.search(
            nodes,
            parts,
            marks,
            beam.Beams(min(beam_width, parts.classes), max_tokens, length_penalty),
            states=states,
            memories=memories,
            rows=rows,
        )
    else:
        alone = nodes("Concat", rows, nodes.constant([1]), axis=0)
        written = write(
            nodes,
            parts,
            marks,
            most_likely,
            states=states,
            memories=memories,
            prompt=nodes("Expand", nodes.constant(marks.begin), alone),
            given=nodes("Expand", nodes.constant(1), rows),
            most=nodes.constant([max_tokens]),
        )
    return finish(nodes, encoder.input, _answers(nodes, written))


def compose_writer(parts: Parts, marks: Marks) -> onnx.ModelProto:
    """From a prompt to how the text goes on, in one call.

    Inputs: `prompt` INT64 [N, P], tokens of texts, without the mark of their begin; a text ends
    where padding begins, and what comes after it is not read. And `SETTINGS`, [1] each:
    `max_tokens` to write at most, clipped to 1 … `MAX_WRITTEN`, `temperature` (0: the most likely
    token each time), `top_k` (0: all), `top_p` (1: all), `seed`. Outputs are those of
    `compose_translator`; scores are of the network's own probabilities, whatever the temperature.

    The same seed gives the same text for the same row of the same prompts.

    Args:
        parts: of the network.
        marks: of the tokens.
    """
    nodes = Nodes()
    prompt, one = PROMPT, nodes.constant(1)
    padding = nodes.constant(marks.padding)
    is_padding = nodes("Cast", nodes("Equal", prompt, padding), to=TensorProto.INT64)
    is_token = nodes("Equal", nodes("CumSum", is_padding, one), nodes.constant(0))
    counted = nodes("Cast", is_token, to=TensorProto.INT64)
    given = nodes("ReduceSum", counted, nodes.constant([1]), keepdims=0)
    rows = nodes("Shape", given)
    alone = nodes("Concat", rows, nodes.constant([1]), axis=0)
    if marks.begin is None:
        # Of an empty text, padding is read; where P is 0, it is not there yet.
        prompt = nodes("Concat", prompt, nodes("Expand", padding, alone), axis=1)
        given = nodes("Max", given, one)
    else:
        prompt = nodes(
            "Concat", nodes("Expand", nodes.constant(marks.begin), alone), prompt, axis=1
        )
        given = nodes("Add", given, one)
    states = []
    for state in parts.states:
        kind = np.int64 if state.datatype == "INT64" else np.float32
        shape = nodes("Concat", rows, nodes.constant(list(state.shape)), axis=0)
        states.append(nodes("Expand", nodes.constant(0, kind), shape))
    words = seed_words(nodes, "seed", nodes("Squeeze", rows))
    written = write(
        nodes,
        parts,
        marks,
        sampled("temperature", "top_k", "top_p", words, parts.classes),
        states=states,
        memories=(),
        prompt=prompt,
        given=given,
        most=nodes("Clip", "max_tokens", one, nodes.constant(MAX_WRITTEN)),
    )
    # Rows begin to write when they have read their prompts; their columns begin at 0.
    longest = nodes("ReduceMax", written.lengths, keepdims=0)
    columns = nodes("Range", nodes.constant(0), longest, one)
    begun = nodes("Unsqueeze", nodes("Sub", given, one), one)
    last = nodes("Sub", nodes("Shape", written.tokens, start=1, end=2), one)
    places = nodes("Min", nodes("Add", begun, columns), last)
    is_there = nodes("Less", columns, nodes("Unsqueeze", written.lengths, one))
    moved = nodes("GatherElements", written.tokens, places, axis=1)
    tokens = nodes("Where", is_there, moved, padding)
    inputs = [
        helper.make_tensor_value_info(PROMPT, TensorProto.INT64, ["batch", "prompt"]),
        *(helper.make_tensor_value_info(name, kind, [1]) for name, kind in SETTINGS.items()),
    ]
    aligned = Written(tokens, written.lengths, written.scores, None)
    return finish(nodes, inputs, _answers(nodes, aligned))


def compose_forced(parts: Parts, max_tokens: int) -> onnx.ModelProto:
    """What a translator says of tokens that are given: the steps one behind the other, no loop.

    Of a loop nobody could take gradients. Inputs are the encoder's and `prefix` INT64 [N, T], the
    begin's id first. Outputs: `log_probabilities` FP32 [N, T, V] of the token that follows each,
    and `attention` FP32 [N, T, S]. Tokens after the `max_tokens`-th are left out.

    Raises:
        InvalidArgument: there is no encoder.
    """
    if parts.encoder is None:
        raise InvalidArgument("writing about a source needs an encoder")
    nodes = Nodes()
    encoder = parts.encoder.graph
    found = nodes.splice(parts.encoder, ENCODER, {v.name: v.name for v in encoder.input})
    memories, states = found[: len(parts.memories)], found[len(parts.memories) :]
    pads = nodes.constant([0, 0, 0, max_tokens])
    whole = nodes("Pad", PREFIX, pads, nodes.constant(0))
    logits, attention = [], []
    for place in range(max_tokens):
        token = nodes("Slice", whole, *(nodes.constant([e]) for e in (place, place + 1, 1)))
        stepped = add_step(nodes, parts, token, states, memories)
        states = stepped.states
        logits.append(nodes("Unsqueeze", stepped.logits, nodes.constant(1)))
        if stepped.attention is not None:
            attention.append(nodes("Unsqueeze", stepped.attention, nodes.constant(1)))
    there = nodes("Shape", PREFIX, start=1, end=2)

    def joined(columns: Sequence[str]) -> str:
        everything = nodes("Concat", *columns, axis=1)
        return nodes("Slice", everything, nodes.constant([0]), there, nodes.constant([1]))

    nodes.named(nodes("LogSoftmax", joined(logits), axis=2), LOG_PROBABILITIES)
    outputs = [_info(LOG_PROBABILITIES, TensorProto.FLOAT, "target", parts.classes)]
    if attention:
        nodes.named(joined(attention), ATTENTION)
        outputs.append(_info(ATTENTION, TensorProto.FLOAT, "target", "source"))
    prefix = _info(PREFIX, TensorProto.INT64, "target")
    return finish(nodes, [*encoder.input, prefix], outputs)


def _answers(nodes: Nodes, written: Written) -> list[onnx.ValueInfoProto]:
    nodes.named(written.tokens, TOKENS)
    nodes.named(written.lengths, LENGTHS)
    nodes.named(written.scores, SCORES)
    answers = [
        _info(TOKENS, TensorProto.INT64, "target"),
        _info(LENGTHS, TensorProto.INT64),
        _info(SCORES, TensorProto.FLOAT),
    ]
    if written.attention is not None:
        nodes.named(written.attention, ATTENTION)
        answers.append(_info(ATTENTION, TensorProto.FLOAT, "target", "source"))
    return answers


def _info(name: str, kind: int, *rest: str | int) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, ["batch", *rest])
