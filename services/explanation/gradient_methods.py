"""The attributions that take gradients: from a query to the numbers that answer it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np

from services.explanation.arrays import Array
from services.explanation.attributions.conductance import layer_conductance, neuron_conductance
from services.explanation.attributions.deep_shap import deep_shap
from services.explanation.attributions.expected_gradients import expected_gradients
from services.explanation.attributions.grad_cam import enlarged, grad_cam
from services.explanation.attributions.integrated_gradients import integrated_gradients
from services.explanation.attributions.path import QUADRATURES, Quadrature, refined
from services.explanation.attributions.saliency import Gradient, one_hot
from services.explanation.attributions.smooth_grad import smooth_grad
from services.explanation.background import choose_background
from services.explanation.explain import MAX_EVALUATIONS, ExplainQuery, Explanation
from services.explanation.heads import Head
from services.explanation.inputs import check_rows
from services.explanation.parameters import Numbers, Parameter, settle
from services.explanation.subject import Subject
from wintergarden.errors import InvalidArgument, InvalidTensor, Unsupported

FIRST_STEPS, MOST_STEPS = 16, 1024
"""Of automatic steps: the first try and the last."""

STEPS = Parameter("steps", 0, 0, 4096, "points of the integral; 0: as many as the tolerance needs")
STEPS_64 = Parameter("steps", 64, 1, 4096, "points of the integral")
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
UNIT = Parameter("unit", 0, 0, 2**53, "position of the neuron in its layer, flattened")


@dataclass(frozen=True, eq=False)
class Task:
    """One query with all that its answer is made of."""

    method: str
    subject: Subject
    query: ExplainQuery
    head: Head
    outputs: Array
    targets: Array
    numbers: Numbers

    @cached_property
    def layer(self) -> str:
        """For tokens, the embedding; "" where gradients go to the input itself."""
        subject = self.subject
        return subject.embedding(self.query.layer) if subject.is_of_tokens else ""

    @cached_property
    def rows(self) -> Array:
        """[N, …]: the input, or what its tokens look up."""
        rows = self.query.rows
        return self.subject.embedded(rows, self.layer) if self.layer else rows

    @property
    def weights(self) -> Array:
        """[N, K], one-hot."""
        return one_hot(self.targets, self.outputs.shape[1], self.outputs.dtype)

    @property
    def values(self) -> Array:
        """f(x) of the targets, float64 [N]."""
        picked = np.take_along_axis(self.outputs, self.targets[:, None], axis=1)[:, 0]
        return picked.astype(np.float64)

    def gradient(self, rule: str = "gradient", chosen: Array | None = None) -> Gradient:
        """Of the rows, or of those `chosen`; points come as repetitions of all of them."""
        if not self.layer:
            return lambda rows, weights: self.subject.gradient(rows, weights, self.head, rule)
        tokens = self.query.rows if chosen is None else self.query.rows[chosen]
        return lambda rows, weights: self._at(rows, tokens, weights, rule)[1]

    def _at(
        self, rows: Array, tokens: Array, weights: Array, rule: str = "gradient"
    ) -> tuple[Array, Array]:
        repeated = np.concatenate([tokens] * (len(rows) // len(tokens)))
        return self.subject.at_embedding(
            rows, repeated, weights, head=self.head, layer=self.layer, rule=rule
        )

    def baselines(self, summary: str = "") -> tuple[Array, str, Array]:
        """The background [B, …], what it is, and the mean of its outputs by target, [N]."""
        query = self.query
        if not self.layer:
            background = choose_background(
                self.subject, query.background, query.background_summary or summary
            )
            outputs = self.subject.outputs(background.rows, self.head).mean(0, dtype=np.float64)
            return background.rows, background.description, outputs[self.targets]
        rows, description = np.zeros_like(self.rows[:1]), "zeros in place of each embedding"
        if query.background is not None:
            given = check_rows(self.subject, query.background, field="background")
            rows = self.subject.embedded(given, self.layer)
            description = f"embeddings of {len(rows)} rows of the request"
            if rows.shape[1:] != self.rows.shape[1:]:
                raise InvalidTensor(
                    f"background rows of {list(given.shape[1:])} tokens for rows of "
                    f"{list(query.rows.shape[1:])}",
                    "background",
                )
        values = [
            self._at(np.broadcast_to(row, self.rows.shape).copy(), query.rows, self.weights)[0]
            for row in rows
        ]
        means = np.mean(values, axis=0, dtype=np.float64)
        picked = np.take_along_axis(means, self.targets[:, None], axis=1)[:, 0]
        return rows, description, picked

    def bound(self, evaluations: int) -> None:
        """Refuse what would take for ever.

        Raises:
            InvalidArgument: it takes more evaluations than one request may.
        """
        if evaluations > MAX_EVALUATIONS:
            raise InvalidArgument(
                f"{self.method} would take {evaluations} gradients; {MAX_EVALUATIONS} are allowed "
                "in one request: send fewer rows, background rows, steps or samples",
                "parameters",
            )

    def answer(
        self,
        attributions: Array,
        evaluations: int,
        *,
        base_values: Array | None = None,
        background: str = "",
        errors: Array | None = None,
    ) -> Explanation:
        """The explanation; with base values also what is missing from the sum.

        Attributions of embeddings are added up for each token.
        """
        if self.layer and attributions.shape != self.query.rows.shape:
            extra = tuple(range(self.query.rows.ndim, attributions.ndim))
            attributions = attributions.sum(axis=extra)
            if errors is not None:
                errors = np.sqrt((errors**2).sum(axis=extra))
        nothing = np.zeros((len(self.rows), 0))
        sums = attributions.reshape(len(attributions), -1).sum(axis=1, dtype=np.float64)
        base = np.zeros(0) if base_values is None else base_values
        return Explanation(
            manifest=self.subject.manifest,
            method=self.method,
            head=self.head,
            rows=self.query.rows,
            targets=self.targets,
            outputs=self.values,
            attributions=attributions.astype(np.float64),
            player_values=nothing,
            standard_errors=nothing if errors is None else errors.reshape(len(errors), -1),
            base_values=base,
            efficiency_gaps=self.values - base - sums if base.size else np.zeros(0),
            evaluations=evaluations,
            seed=self.query.seed,
            background=background,
        )


Run = Callable[[Task], Explanation]


def attribution_of(name: str, run: Run, parameters: tuple[Parameter, ...]) -> Callable[
    [Subject, ExplainQuery, Head, Array, Array], Explanation
]:  # fmt: skip
    """What the registry of methods calls."""

    def answered(
        subject: Subject, query: ExplainQuery, head: Head, outputs: Array, targets: Array
    ) -> Explanation:
        if query.seed < 0:
            raise InvalidArgument(f"seed={query.seed}: 0 or above", "seed")
        numbers = settle(name, parameters, query.parameters)
        return run(Task(name, subject, query, head, outputs, targets, numbers))

    return answered


def by_rule(task: Task, rule: str) -> Explanation:
    """What one backward pass tells; of tokens, how long the gradient by each embedding is."""
    slopes = task.gradient(rule)(task.rows, task.weights)
    if task.layer:
        extra = tuple(range(task.query.rows.ndim, slopes.ndim))
        slopes = np.sqrt((slopes.astype(np.float64) ** 2).sum(axis=extra))
    return task.answer(slopes, 2 * len(task.rows))


by_saliency = partial(by_rule, rule="gradient")
by_guided_backprop = partial(by_rule, rule="guided")
by_deconvnet = partial(by_rule, rule="deconvnet")


def by_product(task: Task, rule: str) -> Explanation:
    """Input × what one backward pass tells."""
    slopes = task.gradient(rule)(task.rows, task.weights)
    return task.answer(slopes * task.rows.astype(np.float64), 2 * len(task.rows))


by_input_x_gradient = partial(by_product, rule="gradient")
by_lrp_epsilon = partial(by_product, rule="lrp_epsilon")
by_lrp_gamma = partial(by_product, rule="lrp_gamma")


def by_integrated_gradients(task: Task) -> Explanation:
    background, description, base_values = task.baselines()
    rows, weights = task.rows, task.weights
    change = task.values - base_values
    name = QUADRATURES[int(task.numbers["quadrature"])]
    steps = int(task.numbers["steps"])
    task.bound(2 * len(rows) * len(background) * (steps or FIRST_STEPS))

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
        most=steps or MOST_STEPS,
    )
    return task.answer(
        attributions,
        2 * taken * len(background) + len(background),
        base_values=base_values,
        background=description,
    )


def by_smooth_grad(task: Task) -> Explanation:
    samples = int(task.numbers["samples"])
    task.bound(2 * len(task.rows) * samples)
    attributions = smooth_grad(
        task.gradient(),
        task.rows,
        task.weights,
        noise=task.numbers["noise"],
        samples=samples,
        seed=task.query.seed,
    )
    return task.answer(attributions, 2 * samples * len(task.rows))


def by_expected_gradients(task: Task) -> Explanation:
    samples = int(task.numbers["samples"])
    task.bound(2 * len(task.rows) * samples)
    # An expectation needs the rows themselves, not their mean.
    background, description, base_values = task.baselines("sample")
    attributions, errors = expected_gradients(
        task.gradient(),
        task.rows,
        background,
        task.weights,
        samples=samples,
        seed=task.query.seed,
    )
    return task.answer(
        attributions,
        2 * samples * len(task.rows) + len(background),
        base_values=base_values,
        background=description,
        errors=errors,
    )


def by_deep_shap(task: Task) -> Explanation:
    _needs_numbers(task)
    background, description, base_values = task.baselines()
    task.bound(3 * len(task.rows) * len(background))
    attributions = deep_shap(
        lambda rows, starts, weights: task.subject.multipliers(
            rows, starts.astype(rows.dtype), weights, task.head
        ),
        task.rows,
        background,
        task.weights,
    )
    return task.answer(
        attributions,
        3 * len(task.rows) * len(background),
        base_values=base_values,
        background=description,
    )


def by_grad_cam(task: Task) -> Explanation:
    return task.answer(_cam(task), 2 * len(task.rows))


def by_guided_grad_cam(task: Task) -> Explanation:
    guided = task.gradient("guided")(task.rows, task.weights)
    return task.answer(guided * _cam(task), 4 * len(task.rows))


def by_layer_conductance(task: Task) -> Explanation:
    """In the shape of the layer."""
    layer = _layer(task)
    background, description, _ = task.baselines()
    baseline = _one(background)
    steps = int(task.numbers["steps"])
    task.bound(2 * len(task.rows) * steps)
    weights = task.weights
    attributions = layer_conductance(
        lambda rows, weights: task.subject.layer(rows, weights, task.head, layer),
        task.rows,
        baseline,
        weights,
        steps,
    )
    start = task.subject.outputs(baseline, task.head)[0].astype(np.float64)
    return task.answer(
        attributions,
        2 * len(task.rows) * (steps + 1) + 1,
        base_values=start[task.targets],
        background=f"{description}; conductance of '{layer}'",
    )


def by_neuron_conductance(task: Task) -> Explanation:
    """Of one unit of the layer, in the shape of the input."""
    layer = _layer(task)
    background, description, _ = task.baselines()
    baseline = _one(background)
    steps, unit = int(task.numbers["steps"]), int(task.numbers["unit"])
    task.bound(4 * len(task.rows) * steps)
    activations, _ = task.subject.layer(task.rows[:1], task.weights[:1], task.head, layer)
    if unit >= activations[0].size:
        raise InvalidArgument(
            f"unit={unit}: layer '{layer}' has {activations[0].size} units", "parameters.unit"
        )
    attributions = neuron_conductance(
        lambda rows, weights: task.subject.layer(rows, weights, task.head, layer),
        lambda rows, weights: task.subject.behind(rows, weights, layer),
        task.rows,
        baseline,
        task.weights,
        unit=unit,
        rule=Quadrature.of(QUADRATURES[int(task.numbers["quadrature"])], steps),
    )
    return task.answer(
        attributions,
        4 * len(task.rows) * steps,
        background=f"{description}; unit {unit} of '{layer}'",
    )


def _needs_numbers(task: Task) -> None:
    if task.layer:
        raise Unsupported(
            f"{task.method} is for models of numbers; of tokens, integrated_gradients and the "
            "other gradients by their embeddings are answered"
        )


def _layer(task: Task) -> str:
    _needs_numbers(task)
    return task.subject.choose_layer(task.query.layer)


def _one(background: Array) -> Array:
    """Conductance runs along one line: the mean of the background, [1, …]."""
    mean: Array = background.mean(axis=0, keepdims=True, dtype=np.float64)
    return mean.astype(background.dtype)


def _cam(task: Task) -> Array:
    """The map of a layer in the shape of the input, the same for all its channels."""
    layer = _layer(task)
    activations, gradients = task.subject.layer(task.rows, task.weights, task.head, layer)
    rank = task.rows.ndim
    if activations.ndim != rank or rank < 3:
        raise Unsupported(
            f"layer '{layer}' is {list(activations.shape)} for an input {list(task.rows.shape)}; "
            "Grad-CAM needs channels and places [N, C, …] in both"
        )
    maps = enlarged(grad_cam(activations, gradients), task.rows.shape[2:])
    return np.broadcast_to(maps[:, None], task.rows.shape).astype(np.float64)
