"""Kernel SHAP: Shapley values from a weighted linear regression over coalitions.

Lundberg, Lee, "A Unified Approach to Interpreting Model Predictions", NeurIPS 2017, §4.1.
https://arxiv.org/abs/1705.07874

With coalitions in pairs, s = ±1 for present and absent players and d = v(S) − v(complement of S),
the values minimise Σ w (d − s·φ)² subject to Σφ = f(x) − φ₀. The minimiser is linear in d, so one
projection serves all explained rows and all outputs.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from services.explanation.arrays import Array
from services.explanation.attributions.coalitions import (
    CoalitionPlan,
    all_coalitions,
    minimum_pairs,
    plan_coalitions,
)
from services.explanation.attributions.exact import shapley_values
from services.explanation.attributions.game import Game
from wintergarden.errors import InvalidArgument

EXACT_PLAYERS = 12
"""Up to here all 2^M coalitions are evaluated unless fewer evaluations are asked for."""

DEFAULT_COALITIONS = 2048
MAX_CELLS = 1 << 24
"""Coalitions times players: bounds the memory of the regression to a few hundred MiB."""


@dataclass(frozen=True, eq=False)
class ShapleyValues:
    """f(x) = φ₀ + Σφ, for each explained row and output.

    Shape:
        values, standard_errors: (N, M, K); errors are zero where every coalition was evaluated.
        base_values, outputs: (N, K).
        K is 1 where targets were given.

    Attributes:
        evaluations: Rows the model was run on, in all.
        is_exact: Every coalition was evaluated.
    """

    values: Array
    standard_errors: Array
    base_values: Array
    outputs: Array
    evaluations: int
    is_exact: bool

    @property
    def efficiency_gaps(self) -> Array:
        """f(x) − φ₀ − Σφ, (N, K): how far the values fail to add up."""
        gaps: Array = self.outputs - self.base_values - self.values.sum(axis=1)
        return gaps


def kernel_shap(
    game: Game,
    rows: Array,
    *,
    targets: Array | None = None,
    max_evaluations: int = 0,
    seed: int = 0,
) -> ShapleyValues:
    """Explain rows [N, …].

    Args:
        game: The model, its players and the background.
        rows: What is explained.
        targets: [N] output indices; None explains all outputs.
        max_evaluations: Model rows per explained row. 0: all coalitions up to `EXACT_PLAYERS`
            players, else `DEFAULT_COALITIONS` times the background rows.
        seed: Of the drawn coalitions.

    Raises:
        InvalidArgument: too few evaluations to tell the players apart, or too many.
    """
    players, per_coalition = game.players.count, len(game.background)
    coalitions = coalition_budget(players, per_coalition, max_evaluations)
    base, outputs = np.broadcast_arrays(game.empty_value(), game.full_values(rows))
    if targets is not None:
        base, outputs = (np.take_along_axis(v, targets[:, None], axis=1) for v in (base, outputs))

    if is_exact := coalitions >= 2**players:
        masks = all_coalitions(players)[1:-1]
        inner = [game.values(rows, masks, targets)] if len(masks) else []
        values = shapley_values(np.concatenate([base[:, None], *inner, outputs[:, None]], axis=1))
        errors = np.zeros_like(values)
    else:
        plan = _plan(players, (coalitions - 2) // 2, seed)
        masks = np.concatenate([plan.masks, ~plan.masks])
        present, absent = np.split(game.values(rows, masks, targets), 2, axis=1)
        values, errors = regress(plan, present - absent, outputs - base)
    return ShapleyValues(
        values=values,
        standard_errors=errors,
        base_values=base,
        outputs=outputs,
        evaluations=len(rows) * (1 + len(masks) * per_coalition) + per_coalition,
        is_exact=is_exact,
    )


@lru_cache(maxsize=4)
def _plan(players: int, pairs: int, seed: int) -> CoalitionPlan:
    """Requests of the same model share their coalitions; drawing them takes milliseconds."""
    return plan_coalitions(players, pairs, np.random.default_rng(seed))


def regress(plan: CoalitionPlan, differences: Array, totals: Array) -> tuple[Array, Array]:
    """The constrained weighted least squares, and the standard error of its solution.

    Args:
        plan: The coalitions and their weights.
        differences: [N, P, K], v(S) − v(complement).
        totals: [N, K], what the values must sum to.

    Returns:
        Values and standard errors, each [N, M, K]. The errors are those of sampling within the
        size classes: the sandwich of Huber and White with leverage-corrected residuals (HC3),
        times the finite-population correction 1 − drawn, so enumerated classes add none; where
        nothing was drawn of the others, they pass for a sample of all, and errors are wide.
    """
    signs = np.where(plan.masks, 1.0, -1.0)  # [P, M]
    weighted = signs * plan.weights[:, None]
    # The constraint fixes Σφ, so a penalty on it (+ 1) changes nothing but the matrix's rank.
    inverse = np.linalg.inv(signs.T @ weighted + 1)
    pull = inverse.sum(axis=1) / inverse.sum()  # how the constraint shares out its total
    projector = inverse - np.outer(pull, inverse.sum(axis=0))
    projection = projector @ weighted.T  # [M, P]
    values = projection @ differences
    values += pull[:, None] * totals[:, None]

    residuals = differences - signs @ values
    leverage = np.einsum("mp,pm->p", projection, signs)
    scale = (1 - plan.drawn) / np.maximum(1 - leverage, 1e-6) ** 2
    variances = (projection**2 * scale) @ residuals**2
    return values, np.sqrt(variances)


def minimum_evaluations(players: int, background_rows: int) -> int:
    """Per explained row: all coalitions of one player and their complements."""
    return (2 + 2 * minimum_pairs(players)) * background_rows


def coalition_budget(players: int, background_rows: int, max_evaluations: int) -> int:
    """How many coalitions may be evaluated, the empty and the full one included."""
    if minimum_evaluations(players, 1) * players > MAX_CELLS:
        raise InvalidArgument(
            f"{players} players are too many: use a grid or a feature mask", "players"
        )
    if max_evaluations == 0:
        if players <= EXACT_PLAYERS:
            return int(2**players)
        return max(DEFAULT_COALITIONS, minimum_evaluations(players, 1))
    least = min(2**players, minimum_evaluations(players, 1)) * background_rows
    most = MAX_CELLS // players * background_rows
    if not least <= max_evaluations <= most:
        raise InvalidArgument(
            f"max_evaluations={max_evaluations}: {players} players against {background_rows} "
            f"background rows take {least} to {most}",
            "max_evaluations",
        )
    return max_evaluations // background_rows
