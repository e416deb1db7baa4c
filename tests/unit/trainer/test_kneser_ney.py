"""The n-grams that language models are held to, against Chen and Goodman's formulas in words."""

from __future__ import annotations

import importlib.util
import itertools
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

PATH = Path(__file__).parents[2] / "bench" / "sequences" / "kneser_ney.py"
SIZE, ORDER = 6, 3


def kneser_ney() -> Any:
    spec = importlib.util.spec_from_file_location("kneser_ney", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["kneser_ney"] = module  # where its dataclasses look their types up
    spec.loader.exec_module(module)
    return module.KneserNey


def by_definition(ids: list[int]) -> Callable[[tuple[int, ...], int], float]:
    def grams(length: int) -> Counter[tuple[int, ...]]:
        return Counter(tuple(ids[i : i + length]) for i in range(len(ids) - length + 1))

    counts = [Counter(gram[1:] for gram in grams(length + 1)) for length in range(1, ORDER)]
    counts.append(grams(ORDER))
    discounts = []
    for found in counts:
        n = [max(1, sum(c == times for c in found.values())) for times in (1, 2, 3, 4)]
        share = n[0] / (n[0] + 2 * n[1])
        given = [k + 1 - (k + 2) * share * n[k + 1] / n[k] for k in range(3)]
        discounts.append([0.0, *(min(max(g, 0.01), k + 1) for k, g in enumerate(given))])

    def probability(context: tuple[int, ...], token: int) -> float:
        shorter = probability(context[1:], token) if context else 1 / SIZE
        found, discount = counts[len(context)], discounts[len(context)]
        after = {gram: c for gram, c in found.items() if gram[:-1] == context}
        if not after:
            return shorter
        own, total = after.get((*context, token), 0), sum(after.values())
        left = sum(discount[min(c, 3)] for c in after.values())
        return (own - discount[min(own, 3)] + left * shorter) / total

    return probability


@pytest.mark.parametrize("seed", [0, 1])
def test_probabilities_are_those_of_the_definition(seed: int) -> None:
    ids = np.random.default_rng(seed).integers(2, SIZE, 200)
    model, probability = kneser_ney()(ids, SIZE, ORDER), by_definition(ids.tolist())
    for context in itertools.product(range(SIZE), repeat=ORDER - 1):
        found = [2 ** model.log2(np.array([*context, t]))[-1] for t in range(SIZE)]
        assert found == pytest.approx([probability(context, t) for t in range(SIZE)], rel=1e-9)
        assert sum(found) == pytest.approx(1.0)


def test_documents_cost_what_their_tokens_do() -> None:
    ids = np.random.default_rng(0).integers(2, SIZE, 50)
    model = kneser_ney()(ids, SIZE, ORDER)
    bits = model.bits_per_character([ids, ids[:20]], characters=10)
    assert bits == pytest.approx(-(model.log2(ids)[1:].sum() + model.log2(ids[:20])[1:].sum()) / 10)
