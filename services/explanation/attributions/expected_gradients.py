"""Expected gradients, which shap calls GradientSHAP.

Erion, Janizek, Sturmfels, Lundberg, Lee, "Improving performance of deep learning models with
axiomatic attribution priors and expected gradients", 2019. https://arxiv.org/abs/1906.10670

φ = E over background b and α in [0, 1] of (x − b) ⊙ ∇f(b + α (x − b)); Σ φ → f(x) − E f(b).
Drawn in strata: α once from each of `samples` equal parts, the background in turn.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from services.explanation.arrays import Array
from services.explanation.attributions.saliency import Gradient


def expected_gradients(
    gradient: Gradient,
    rows: Array,
    background: Array,
    weights: Array,
    *,
    samples: int,
    seed: int,
    folded: Callable[[Array], Array] = np.asarray,
) -> tuple[Array, Array]:
    """Attributions and their standard errors, float64 of the rows' shape, or as `folded`.

    Args:
        gradient: The model's.
        rows: [N, …].
        background: [B, …].
        weights: [N, K], the output that is explained.
        samples: Draws; all rows share them.
        seed: Of the draws.
        folded: Sums over parts of a row that are told as one, such as what a token looks up; the
            errors are of these sums, whose terms do not vary independently.
    """
    rng = np.random.default_rng(seed)
    alphas = (rng.permutation(samples) + rng.random(samples)) / samples
    turns = np.concatenate(
        [rng.permutation(len(background)) for _ in range(-(-samples // len(background)))]
    )
    total, squares = np.zeros(()), np.zeros(())
    for alpha, turn in zip(alphas, turns, strict=False):
        way = rows.astype(np.float64) - background[turn]
        slope = gradient((background[turn] + alpha * way).astype(rows.dtype), weights)
        share = folded(way * slope)
        total, squares = total + share, squares + share**2
    mean = total / samples
    variance = np.maximum(squares / samples - mean**2, 0) / max(1, samples - 1)
    return mean, np.sqrt(variance)
