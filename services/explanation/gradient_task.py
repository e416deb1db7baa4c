"""One query to a method that takes gradients, with all that its answer is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from services.explanation.arrays import Array
from services.explanation.attributions.saliency import Gradient, one_hot
from services.explanation.background import choose_background
from services.explanation.explain import MAX_EVALUATIONS, ExplainQuery, Explanation
from services.explanation.heads import Head
from services.explanation.inputs import check_rows
from services.explanation.parameters import Numbers, Parameter, settle
from services.explanation.subject import Subject
from wintergarden.errors import InvalidArgument, InvalidTensor


@dataclass(frozen=True, eq=False)
class Task:
    """What is asked of which model.

    Gradients are taken at the entry: the input, or what its tokens look up.

    Attributes:
        method: Its name.
        subject: The model.
        query: As it came.
        head: What is explained.
        outputs: Of the head, [N, K].
        targets: [N].
        numbers: Every parameter of the method.
        looks_at_layer: The query's layer is what the method looks at; else it is the entry.
    """

    method: str
    subject: Subject
    query: ExplainQuery
    head: Head
    outputs: Array
    targets: Array
    numbers: Numbers
    looks_at_layer: bool = False

    @cached_property
    def embedding(self) -> str:
        """The tensor that tokens look up; "" where gradients go to the input itself."""
        if not self.subject.is_of_tokens:
            return ""
        return self.subject.embedding("" if self.looks_at_layer else self.query.layer)

    @cached_property
    def layer(self) -> str:
        """The inner tensor that the method looks at."""
        return self.subject.choose_layer(self.query.layer)

    @cached_property
    def entry(self) -> Subject:
        """The model as a function of `rows`."""
        return self._entered_with(self.query.rows)

    def _entered_with(self, tokens: Array) -> Subject:
        return self.subject.seen_from(self.embedding, tokens) if self.embedding else self.subject

    @cached_property
    def rows(self) -> Array:
        """[N, …]: the input, or what its tokens look up."""
        rows = self.query.rows
        return self._looked_up(rows) if self.embedding else rows

    def _looked_up(self, tokens: Array) -> Array:
        return self.subject.answers(tokens, Head(self.embedding, "value"))

    @property
    def weights(self) -> Array:
        """[N, K], one-hot."""
        return one_hot(self.targets, self.outputs.shape[1], self.outputs.dtype)

    @property
    def values(self) -> Array:
        """f(x) of the targets, float64 [N]."""
        return self._picked(self.outputs)

    def gradient(self, rule: str = "gradient", chosen: Array | None = None) -> Gradient:
        """Of the rows, or of those `chosen`; points come as repetitions of all of them."""
        entry = self.entry if chosen is None else self._entered_with(self.query.rows[chosen])
        return lambda rows, weights: entry.gradient(rows, weights, self.head, rule)

    def baselines(self, summary: str = "") -> tuple[Array, str, Array]:
        """The background [B, …], what it is, and the mean of its outputs by target, [N]."""
        query = self.query
        if not self.embedding:
            background = choose_background(
                self.subject,
                query.background,
                query.background_summary or summary,
                query.rows.shape[1:],
            )
            outputs = self.subject.outputs(background.rows, self.head).mean(0, dtype=np.float64)
            return background.rows, background.description, outputs[self.targets]
        rows, description = np.zeros_like(self.rows[:1]), "zeros in place of each embedding"
        if query.background is not None:
            given = check_rows(self.subject, query.background, field="background")
            rows = self._looked_up(given)
            description = f"embeddings of {len(rows)} rows of the request"
            if rows.shape[1:] != self.rows.shape[1:]:
                raise InvalidTensor(
                    f"background rows of {list(given.shape[1:])} tokens for rows of "
                    f"{list(query.rows.shape[1:])}",
                    "background",
                )
        spread = [np.broadcast_to(row, self.rows.shape) for row in rows]
        outputs = [self.entry.outputs(baselines, self.head) for baselines in spread]
        means: Array = np.stack(outputs).mean(axis=0, dtype=np.float64)
        return rows, description, self._picked(means)

    def _picked(self, outputs: Array) -> Array:
        picked = np.take_along_axis(outputs, self.targets[:, None], axis=1)[:, 0]
        return picked.astype(np.float64)

    def bound(self, runs: int, *, passes: int = 2, is_all: bool = True) -> None:
        """Refuse what would take for ever, and tell who waits how much the rest will take.

        Args:
            runs: Of a graph on one row.
            passes: Through the model in a run: forward, and backward.
            is_all: No more will follow.

        Raises:
            InvalidArgument: it takes more evaluations than one request may.
        """
        evaluations = passes * runs
        if evaluations > MAX_EVALUATIONS:
            raise InvalidArgument(
                f"{self.method} would take {evaluations} gradients; {MAX_EVALUATIONS} are allowed "
                "in one request: send fewer rows, background rows, steps or samples",
                "parameters",
            )
        if is_all:
            self.subject.expect(runs)

    def per_token(self, values: Array, norm: bool = False) -> Array:
        """Values at the entry in the input's shape: for each token their sum, or their length."""
        extra = tuple(range(self.query.rows.ndim, values.ndim))
        if not self.embedding or not extra:
            return values
        wide = values.astype(np.float64)
        folded: Array = np.sqrt((wide**2).sum(axis=extra)) if norm else wide.sum(axis=extra)
        return folded

    def answer(
        self,
        attributions: Array,
        evaluations: int,
        *,
        base_values: Array | None = None,
        background: str = "",
        errors: Array | None = None,
    ) -> Explanation:
        """The explanation; with base values also what is missing from the sum."""
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


def attribution_of(
    name: str, run: Run, parameters: tuple[Parameter, ...], *, looks_at_layer: bool = False
) -> Callable[[Subject, ExplainQuery, Head, Array, Array], Explanation]:
    """What the registry of methods calls."""

    def answered(
        subject: Subject, query: ExplainQuery, head: Head, outputs: Array, targets: Array
    ) -> Explanation:
        if query.seed < 0:
            raise InvalidArgument(f"seed={query.seed}: 0 or above", "seed")
        numbers = settle(name, parameters, query.parameters)
        return run(Task(name, subject, query, head, outputs, targets, numbers, looks_at_layer))

    return answered
