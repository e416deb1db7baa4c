"""Random numbers that follow from a seed and a place: the same on every machine, with no state.

ONNX's random operators take their seed from an attribute and answer differently on different
runtimes. Here a number is a hash of (seed, row, step), computed by the graph itself in integers
that never overflow 63 bits.

Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011, §3: a
generator whose state is a counter. The mixing function is Wellons's two-round xorshift-multiply of
32 bits, https://nullprogram.com/blog/2018/07/31/, whose multipliers below 2³¹ were chosen by
exhaustive search for the smallest bias.
"""

from __future__ import annotations

import numpy as np
import onnx

from trainer.data.dataset import Array
from trainer.decoding.nodes import Nodes

_WORD = 0xFFFFFFFF
_ROUNDS = ((16, 0x21F0AAAD), (15, 0x735A2D97))
_LAST_SHIFT = 15
_BITS = 24  # of a float32's significand: every number is exact, and below 1


def uniform_numbers(seed: int, rows: int, step: int) -> Array:
    """One number in [0, 1) for each row, (rows,) float32; what the graph computes."""
    state = _mixed(np.asarray(seed & _WORD, np.int64))
    state = _mixed((state + ((seed >> 32) & _WORD)) & _WORD)
    state = _mixed((state + np.arange(rows)) & _WORD)
    state = _mixed((state + step) & _WORD)
    numbers: Array = (state >> (32 - _BITS)).astype(np.float32) * np.float32(2.0**-_BITS)
    return numbers


def _mixed(words: Array) -> Array:
    for shift, factor in _ROUNDS:
        words = ((words ^ (words >> shift)) * factor) & _WORD
    folded: Array = words ^ (words >> _LAST_SHIFT)
    return folded


def seed_words(nodes: Nodes, seed: str, rows: str) -> str:
    """What is the same in every step, INT64 [N].

    Args:
        nodes: to add to.
        seed: INT64 [1].
        rows: INT64 [], how many there are.
    """
    word = nodes.constant(_WORD)
    low = nodes("BitwiseAnd", seed, word)
    # Division rounds towards zero and not down: of a negative seed its low word is taken off first.
    high = nodes("Div", nodes("Sub", seed, low), nodes.constant(1 << 32))
    state = _mix(nodes, low)
    state = _mix(nodes, _added(nodes, state, nodes("BitwiseAnd", high, word)))
    places = nodes("Range", nodes.constant(0), rows, nodes.constant(1))
    return _mix(nodes, _added(nodes, state, places))


def uniform(nodes: Nodes, words: str, step: str) -> str:
    """One number in [0, 1) for each row, FP32 [N].

    Args:
        nodes: to add to.
        words: from `seed_words`.
        step: INT64 [], the iteration's number.
    """
    state = _mix(nodes, _added(nodes, words, step))
    bits = nodes("Div", state, nodes.constant(1 << (32 - _BITS)))
    scale = nodes.constant(2.0**-_BITS, np.float32)
    return nodes("Mul", nodes("Cast", bits, to=onnx.TensorProto.FLOAT), scale)


def _added(nodes: Nodes, left: str, right: str) -> str:
    return nodes("BitwiseAnd", nodes("Add", left, right), nodes.constant(_WORD))


def _mix(nodes: Nodes, words: str) -> str:
    for shift, factor in _ROUNDS:
        product = nodes("Mul", _folded(nodes, words, shift), nodes.constant(factor))
        words = nodes("BitwiseAnd", product, nodes.constant(_WORD))
    return _folded(nodes, words, _LAST_SHIFT)


def _folded(nodes: Nodes, words: str, shift: int) -> str:
    """Words are never negative: dividing shifts them."""
    return nodes("BitwiseXor", words, nodes("Div", words, nodes.constant(1 << shift)))
