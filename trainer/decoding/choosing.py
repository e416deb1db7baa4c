"""Which token is written next, of those a step says are likely."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx

from trainer.decoding.nodes import Nodes
from trainer.decoding.randomness import uniform

Choose = Callable[[Nodes, str, str], str]
"""From logits FP32 [N, V] and the iteration's number INT64 [] to tokens INT64 [N]; adds nodes."""

_COLDEST = 1e-4


def most_likely(nodes: Nodes, logits: str, iteration: str) -> str:
    """The first of the most likely ones."""
    del iteration
    return nodes("ArgMax", logits, axis=1, keepdims=0)


def sampled(temperature: str, top_k: str, top_p: str, words: str, classes: int) -> Choose:
    """One at random.

    The logits are divided by the temperature; of the `top_k` most likely ones, and of those the
    fewest whose probabilities reach `top_p`, one is drawn. Holtzman et al., "The curious case of
    neural text degeneration", ICLR 2020, §3.1 and §3.2, arXiv:1904.09751.

    Args:
        temperature: FP32 [1]; 0, below and NaN take the most likely one.
        top_k: INT64 [1]; 0 and below are all.
        top_p: FP32 [1]; 1 and above are all, and the most likely one is always among them; of
            NaN it is the only one.
        words: `randomness.seed_words`.
        classes: V.
    """

    def choose(nodes: Nodes, logits: str, iteration: str) -> str:
        def number(value: float) -> str:
            return nodes.constant(value, np.float32)

        warmth = nodes("Max", temperature, number(_COLDEST))
        every = nodes.constant([classes])
        ordered, order = nodes.several("TopK", [logits, every], 2, axis=1)
        # The largest is taken off first: divided by next to nothing, nothing overflows.
        largest = nodes("Slice", ordered, *(nodes.constant([edge]) for edge in (0, 1, 1)))
        cooled = nodes("Div", nodes("Sub", ordered, largest), warmth)
        shares = nodes("Softmax", cooled, axis=1)
        ranks = nodes.constant(np.arange(classes)[None])
        is_all = nodes("LessOrEqual", top_k, nodes.constant(0))
        in_k = nodes("Less", ranks, nodes("Where", is_all, every, top_k))
        likely = nodes("Where", in_k, shares, number(0.0))
        total = nodes("ReduceSum", likely, nodes.constant([1]), keepdims=1)
        likely = nodes("Div", likely, total)
        one = nodes.constant(1)
        before = nodes("CumSum", likely, one, exclusive=1)
        # What comes before the first is nothing, and less than any positive share.
        in_p = nodes("Less", before, nodes("Max", top_p, number(1e-9)))
        kept = nodes("Where", in_p, likely, number(0.0))
        reached = nodes("CumSum", kept, one)
        whole = nodes("ReduceSum", kept, nodes.constant([1]), keepdims=1)
        drawn = nodes("Unsqueeze", uniform(nodes, words, iteration), one)
        below = nodes("LessOrEqual", reached, nodes("Mul", drawn, whole))
        counted = nodes("Cast", below, to=onnx.TensorProto.INT64)
        place = nodes("ReduceSum", counted, nodes.constant([1]), keepdims=1)
        # Sums of rounded numbers may end below the last number drawn.
        kept_ones = nodes("Cast", nodes("Greater", kept, number(0.0)), to=onnx.TensorProto.INT64)
        last = nodes("Sub", nodes("ReduceSum", kept_ones, nodes.constant([1]), keepdims=1), one)
        # Where none is kept, because of NaN, the last is -1: the least likely of all.
        first = nodes.constant(0)
        place = nodes("Max", nodes("Min", place, last), first)
        is_cold = nodes("Not", nodes("Greater", temperature, number(0.0)))  # NaN too
        place = nodes("Where", is_cold, first, place)
        token = nodes("GatherElements", order, place, axis=1)
        return nodes("Squeeze", token, nodes.constant([1]))

    return choose
