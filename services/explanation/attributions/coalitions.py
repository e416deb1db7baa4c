"""Which coalitions Kernel SHAP evaluates, and how much each counts.

The Shapley kernel (Lundberg, Lee, 2017, Theorem 2, https://arxiv.org/abs/1705.07874) weighs a
coalition of s among M players by (M − 1) / (C(M, s) s (M − s)): small and large ones count most.
So sizes are taken from the outside in. While the budget covers a size, all its coalitions are
taken; what is left of the budget is spread over the remaining sizes in proportion to their
weight, distinct coalitions drawn at random from each. A coalition always comes with its
complement, which has the same weight: what is even in v cancels (Covert, Lee, 2021, §3.2,
https://arxiv.org/abs/2012.01536).
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np

from services.explanation.arrays import Array


@dataclass(frozen=True, eq=False)
class CoalitionPlan:
    """Pairs of a coalition and its complement.

    Attributes:
        masks: bool [P, M], one of each pair.
        weights: float64 [P], the pair's share of the Shapley kernel; they sum to one.
        drawn: float64 [P], the share that was drawn of what the pair stands for: of its size
            class, or of all of them where some have no pair; one where nothing is missing.
    """

    masks: Array
    weights: Array
    drawn: Array

    def __post_init__(self) -> None:
        for array in (self.masks, self.weights, self.drawn):
            array.setflags(write=False)  # plans are shared

    @property
    def is_complete(self) -> bool:
        return bool((self.drawn == 1).all())


def minimum_pairs(players: int) -> int:
    """Pairs without which the regression has no single solution: all coalitions of one."""
    return _pairs_of_size(players, 1) if players > 1 else 0


def plan_coalitions(players: int, pairs: int, rng: np.random.Generator) -> CoalitionPlan:
    """Choose at most `pairs` of the 2^(M − 1) − 1 pairs; at least `minimum_pairs` must be allowed.

    Args:
        players: M ≥ 2.
        pairs: The budget.
        rng: Draws what cannot be enumerated.
    """
    sizes = np.arange(1, players // 2 + 1)
    mass = (players - 1) / (sizes * (players - sizes)) * np.where(2 * sizes == players, 1, 2)
    mass /= mass.sum()
    counts = [_pairs_of_size(players, int(size)) for size in sizes]

    strata: list[tuple[Array, float, float]] = []  # masks, weight of the class, share drawn
    left, first = pairs, 0
    while first < len(sizes):
        share = left * mass[first] / mass[first:].sum()
        affordable = counts[first] <= left and share >= counts[first] * (1 - 1e-9)
        if not affordable and first > 0:
            break
        strata.append((_all_of_size(players, first + 1), mass[first], 1.0))
        left -= counts[first]
        first += 1

    drawn = _allocate(mass[first:], counts[first:], left)
    covered = sum(m for m, n in zip(mass[first:], drawn, strict=True) if n)
    for index, number in enumerate(drawn, start=first):
        if number:  # a class too light for one draw lends its weight to the others
            weight = mass[index] * mass[first:].sum() / covered
            masks = _some_of_size(players, index + 1, number, rng)
            strata.append((masks, weight, number / counts[index]))
    if not covered:  # nothing was drawn at all: the enumerated classes stand for everything
        total, share = sum(weight for _, weight, _ in strata), sum(counts[:first]) / sum(counts)
        strata = [(masks, weight / total, share) for masks, weight, _ in strata]
    return CoalitionPlan(
        masks=np.concatenate([masks for masks, _, _ in strata]),
        weights=np.concatenate([np.full(len(m), w / len(m)) for m, w, _ in strata]),
        drawn=np.concatenate([np.full(len(m), share) for m, _, share in strata]),
    )


def all_coalitions(players: int) -> Array:
    """Bool [2^M, M]; row r holds player i if bit i of r is set."""
    rows: Array = (np.arange(2**players)[:, None] >> np.arange(players)) & 1
    return rows.astype(bool)


def _pairs_of_size(players: int, size: int) -> int:
    """Coalitions of `size`, each with its complement; at half the players they pair up among
    themselves.
    """
    return math.comb(players, size) // (2 if 2 * size == players else 1)


def _allocate(mass: Array, counts: list[int], budget: int) -> list[int]:
    """Split `budget` in proportion to `mass`, no class above its count."""
    left = min(budget, sum(counts))
    if left <= 0:
        return [0] * len(counts)
    ideal = mass / mass.sum() * left
    numbers = [min(int(x), c) for x, c in zip(ideal, counts, strict=True)]
    while (rest := left - sum(numbers)) > 0:
        open_classes = [i for i, c in enumerate(counts) if numbers[i] < c]
        neediest = sorted(open_classes, key=lambda i: numbers[i] - ideal[i])[:rest]
        for index in neediest:
            numbers[index] += 1
    return numbers


def _all_of_size(players: int, size: int) -> Array:
    members = np.array(list(itertools.combinations(range(players), size)))
    masks = np.zeros((len(members), players), bool)
    masks[np.arange(len(members))[:, None], members] = True
    return masks[masks[:, 0]] if 2 * size == players else masks


def _some_of_size(players: int, size: int, number: int, rng: np.random.Generator) -> Array:
    """Distinct coalitions, uniformly."""
    total = _pairs_of_size(players, size)
    if total <= 4 * number:
        return _all_of_size(players, size)[rng.choice(total, number, replace=False)]
    found = np.zeros((0, players), bool)
    while len(found) < number:
        order = rng.random((number, players)).argpartition(size - 1, axis=1)
        masks = np.zeros((number, players), bool)
        masks[np.arange(number)[:, None], order[:, :size]] = True
        if 2 * size == players:
            masks ^= ~masks[:, :1]  # of a pair within one size, the one with player 0
        found = np.concatenate([found, masks])
        _, first = np.unique(np.packbits(found, axis=1), axis=0, return_index=True)
        found = found[np.sort(first)]
    return found[:number]
