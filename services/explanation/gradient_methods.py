"""The attributions that take gradients by the input: from a query to the numbers that answer it."""

from __future__ import annotations

from functools import partial

import numpy as np

from services.explanation.arrays import Array
from services.explanation.attributions.deep_shap import deep_shap
from services.explanation.attributions.expected_gradients import expected_gradients
from services.explanation.attributions.integrated_gradients import integrated_gradients
from services.explanation.attributions.path import QUADRATURES, Quadrature, refined
from services.explanation.attributions.smooth_grad import smooth_grad
from services.explanation.explain import MAX_EVALUATIONS, Explanation
from services.explanation.gradient_task import Task
from services.explanation.parameters import Parameter
from wintergarden.errors import InvalidArgument

FIRST_STEPS, MOST_STEPS = 16, 1024
"""Of automatic steps: the first try and the last."""

STEPS = Parameter("steps", 0, 0, 4096, "points of the integral; 0: as many as the tolerance needs")
TOLERANCE = Parameter(
    "tolerance", 1e-3, 1e-6, 1, "of automatic steps, in units of max(1, |f(x) − f(b)|)",
    is_whole=False,
)  # fmt: skip
QUADRATURE = Parameter(
    "quadrature", 0, 0, len(QUADRATURES) - 1,
    ", ".join(f"{i} {name}" for i, name in enumerate(QUADRATURES)),
)  # fmt: skip
SAMPLES = Parameter("samples", 50, 1, 10_000, "draws")
NOISE = Parameter(
    "noise", 0.15, 0, 10, "standard deviation as a share of the row's range", is_whole=False
)


def by_rule(task: Task, rule: str) -> Explanation:
    """What one backward pass tells; of tokens, how long the gradient by each embedding is."""
    slopes = task.gradient(rule)(task.rows, task.weights)
    return task.answer(task.per_token(slopes, norm=True), 2 * len(task.rows))


by_saliency = partial(by_rule, rule="gradient")
by_guided_backprop = partial(by_rule, rule="guided")
by_deconvnet = partial(by_rule, rule="deconvnet")


def by_product(task: Task, rule: str) -> Explanation:
    """Input × what one backward pass tells."""
    slopes = task.gradient(rule)(task.rows, task.weights)
    products = slopes * task.rows.astype(np.float64)
    return task.answer(task.per_token(products), 2 * len(task.rows))


by_input_x_gradient = partial(by_product, rule="gradient")
by_lrp_epsilon = partial(by_product, rule="lrp_epsilon")
by_lrp_gamma = partial(by_product, rule="lrp_gamma")


def by_integrated_gradients(task: Task) -> Explanation:
    background, description, base_values = task.baselines()
    rows, weights = task.rows, task.weights
    change = task.values - base_values
    name = QUADRATURES[int(task.numbers["quadrature"])]
    steps = int(task.numbers["steps"])
    task.bound(len(rows) * len(background) * (steps or FIRST_STEPS), is_all=steps > 0)

    def refine(steps: int, chosen: Array) -> tuple[Array, Array]:
        values = integrated_gradients(
            task.gradient(chosen=chosen),
            rows[chosen],
            background,
            weights[chosen],
            Quadrature.of(name, steps),
        )
        return values, change[chosen] - values.reshape(len(values), -1).sum(axis=1)

    attributions, _, taken = refined(
        refine,
        len(rows),
        task.numbers["tolerance"] * np.maximum(1, np.abs(change)),
        steps=steps or FIRST_STEPS,
        most=steps or _most_steps(task.query.max_evaluations, len(rows), len(background)),
    )
    return task.answer(
        task.per_token(attributions),
        2 * taken * len(background) + len(background),
        base_values=base_values,
        background=description,
    )


def _most_steps(max_evaluations: int, rows: int, baselines: int) -> int:
    """Of the last refinement that, with all before it, stays within the evaluations allowed.

    Those of one row, as far as the caller sets them, and those of a request.
    """
    steps, most = MAX_EVALUATIONS // (2 * rows * baselines), FIRST_STEPS
    if max_evaluations:
        steps = min(steps, (max_evaluations // baselines - 1) // 2)
    if steps < FIRST_STEPS:
        raise InvalidArgument(
            f"max_evaluations={max_evaluations}: automatic steps begin with "
            f"{(2 * FIRST_STEPS + 1) * baselines}; fewer take the parameter `steps`",
            "max_evaluations",
        )
    while most < MOST_STEPS and 4 * most - FIRST_STEPS <= steps:  # 16 + 32 + … + 2 most
        most *= 2
    return most


def by_smooth_grad(task: Task) -> Explanation:
    samples = int(task.numbers["samples"])
    task.bound(len(task.rows) * samples)
    attributions = smooth_grad(
        task.gradient(),
        task.rows,
        task.weights,
        noise=task.numbers["noise"],
        samples=samples,
        seed=task.query.seed,
    )
    return task.answer(task.per_token(attributions), 2 * samples * len(task.rows))


def by_expected_gradients(task: Task) -> Explanation:
    samples = int(task.numbers["samples"])
    task.bound(len(task.rows) * samples)
    # An expectation needs the rows themselves, not their mean.
    background, description, base_values = task.baselines("sample")
    attributions, errors = expected_gradients(
        task.gradient(),
        task.rows,
        background,
        task.weights,
        samples=samples,
        seed=task.query.seed,
        folded=task.per_token,
    )
    return task.answer(
        attributions,
        2 * samples * len(task.rows) + len(background),
        base_values=base_values,
        background=description,
        errors=errors,
    )


def by_deep_shap(task: Task) -> Explanation:
    background, description, base_values = task.baselines()
    task.bound(len(task.rows) * len(background), passes=3)
    attributions = deep_shap(
        lambda rows, starts, weights: task.entry.multipliers(
            rows, starts.astype(rows.dtype), weights, task.head
        ),
        task.rows,
        background,
        task.weights,
    )
    return task.answer(
        task.per_token(attributions),
        3 * len(task.rows) * len(background),
        base_values=base_values,
        background=description,
    )
