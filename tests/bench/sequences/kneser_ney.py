"""Interpolated Kneser-Ney n-grams over token ids: what a language model has to beat.

Kneser, Ney, "Improved backing-off for m-gram language modeling", ICASSP 1995; interpolated and with
three discounts an order as in Chen, Goodman, "An empirical study of smoothing techniques for
language modeling", Computer Speech and Language 13(4), 1999, §3 and §4.1.6.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

_LEAST = 0.01  # of a discount; few texts have so even counts that theirs would be less


@dataclass(frozen=True)
class _Order:
    """The n-grams of one length that were seen.

    Attributes:
        keys: (M,) sorted; an n-gram is its context's place times V and its last token.
        kept: (M,) probability of the last token after the context, discounted.
        left: by context, the share that goes to the next shorter context; 1 where it is unseen.
    """

    keys: Array
    kept: Array
    left: Array


class KneserNey:
    """Counts the n-grams of a text.

    Args:
        ids: (L,) int64, documents one after another, each with its marks.
        size: V, of the vocabulary.
        order: n, tokens of the longest n-gram.
    """

    def __init__(self, ids: Array, size: int, order: int) -> None:
        self._size, self.order = size, order
        self._orders: list[_Order] = []
        places, contexts = self._places(ids, order)
        for length in range(1, order + 1):
            keys, _, counts = places[length - 1]
            if length < order:  # how many different tokens it was seen after, and not how often
                _, longer_first, _ = places[length]
                suffixes = np.searchsorted(keys, contexts[length - 1][longer_first])
                counts = np.bincount(suffixes, minlength=len(keys))
            self._orders.append(self._discounted(keys, counts, length))

    def log2(self, ids: Array) -> Array:
        """(L,) log2 of the probability of each token after those before it."""
        probability = np.full(len(ids), 1.0 / self._size)
        place = np.zeros(len(ids), np.int64)  # of the context of each token; -1: unseen
        for order in self._orders:
            keys = place * self._size + ids
            found = np.searchsorted(order.keys, keys).clip(max=len(order.keys) - 1)
            is_seen = (order.keys[found] == keys) & (place >= 0)
            kept = np.where(is_seen, order.kept[found], 0.0)
            left = np.where(place >= 0, order.left[place], 1.0)
            probability = kept + left * probability
            # The context of the next token, one longer, ends here.
            place = np.concatenate([[-1], np.where(is_seen, found, -1)[:-1]])
        bits: Array = np.log2(probability)
        return bits

    def bits_per_character(self, documents: Sequence[Array], characters: int) -> float:
        """What documents cost, each with its marks; their begin costs nothing."""
        bits = [-float(self.log2(ids)[1:].sum()) for ids in documents]
        return math.fsum(bits) / characters

    def _places(
        self, ids: Array, order: int
    ) -> tuple[list[tuple[Array, Array, Array]], list[Array]]:
        """By length: the n-grams' keys, where each was first, how often; and the key at each."""
        tables, keys_at = [], []
        place = np.zeros(len(ids), np.int64)
        there = np.ones(len(ids), bool)
        for _ in range(order):
            keys = place * self._size + ids
            unique, first, inverse, counts = np.unique(
                keys[there], return_index=True, return_inverse=True, return_counts=True
            )
            tables.append((unique, np.flatnonzero(there)[first], counts))
            keys_at.append(keys)
            found = np.zeros(len(ids), np.int64)
            found[there] = inverse
            place = np.concatenate([[0], found[:-1]])
            there = np.concatenate([[False], there[:-1]])
        return tables, keys_at

    def _discounted(self, keys: Array, counts: Array, length: int) -> _Order:
        contexts = keys // self._size
        size = len(self._orders[-1].keys) if length > 1 else 1
        totals = np.bincount(contexts, weights=counts, minlength=size)
        discounts = _discounts(counts)[np.minimum(counts, 3)]
        given = np.bincount(contexts, weights=discounts, minlength=size)
        is_seen = totals > 0
        left = np.where(is_seen, given / np.maximum(totals, 1), 1.0)
        return _Order(keys, (counts - discounts) / np.maximum(totals, 1)[contexts], left)


def _discounts(counts: Array) -> Array:
    """(4,) what n-grams seen 0, 1, 2 and 3 times or more give away; Chen, Goodman, eq. 26."""
    n = [max(1, int((counts == times).sum())) for times in (1, 2, 3, 4)]
    share = n[0] / (n[0] + 2 * n[1])
    found = [0.0, *(k + 1 - (k + 2) * share * n[k + 1] / n[k] for k in range(3))]
    # Something is always given away, or what was never seen could never be.
    return np.clip(found, [0.0, *([_LEAST] * 3)], [0, 1, 2, 3])
