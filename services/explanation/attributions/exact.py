"""Shapley values by definition, from the value of every coalition."""

from __future__ import annotations

import math

import numpy as np

from services.explanation.arrays import Array


def shapley_values(values: Array) -> Array:
    """Shapley, "A value for n-person games", 1953.

    φ_i = Σ over S without i of |S|! (M − |S| − 1)! / M! · (v(S ∪ i) − v(S)).

    Args:
        values: [N, 2^M, K] in the order of `all_coalitions`.

    Returns:
        [N, M, K].
    """
    players = (values.shape[1] - 1).bit_length()
    sizes = np.arange(players)
    factorial = [math.factorial(n) for n in range(players + 1)]
    weights = np.array([factorial[s] * factorial[players - s - 1] for s in sizes])
    weights = weights / factorial[players]
    coalitions = np.arange(2**players)
    size_of = np.array([c.bit_count() for c in coalitions.tolist()])
    result = []
    for player in range(players):
        without = coalitions[(coalitions >> player) & 1 == 0]
        gains = values[:, without | (1 << player)] - values[:, without]  # [N, 2^(M−1), K]
        result.append(np.einsum("c,nck->nk", weights[size_of[without]], gains))
    return np.stack(result, axis=1)
