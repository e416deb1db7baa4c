"""What a job computes, divided into blocks: the same for every attempt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from services.explanation.arrays import Array
from services.explanation.attack import (
    Robustness,
    attack,
    box_of,
    default_radii,
    evaluate_robustness,
)
from services.explanation.attacks.ball import Ball
from services.explanation.explain import explain
from services.explanation.inputs import check_rows
from services.explanation.methods import attack_method, attribution
from services.explanation.parameters import settle
from services.explanation.pictures import (
    MAX_PICTURES,
    Picture,
    adversarial_pictures,
    check_finite,
    explanation_pictures,
    robustness_pictures,
)
from services.explanation.requests import attack_query, explain_query, norm_of
from services.explanation.subject import Subject
from wintergarden.errors import FailedPrecondition, InvalidArgument, InvalidTensor
from wintergarden.wire import explanation_pb2 as pb

BLOCK_ROWS = 8
"""Of a sampling method: so many rows at most are computed again after a kill."""

GRADIENT_BLOCK_ROWS = 64


@dataclass(frozen=True, eq=False)
class Block:
    """Numbers of some rows, each array with one entry for each row.

    Attributes:
        arrays: By name.
        evaluations: As the method counts them; None: the rows that the model was run on.
        summary: What the rows have in common.
        pictures: Of the rows.
    """

    arrays: dict[str, Array]
    evaluations: int | None
    summary: dict[str, Any] = field(default_factory=dict)
    pictures: list[Picture] = field(default_factory=list)


class Work(Protocol):
    """A job's work, of `steps` rows or radii in all."""

    steps: int
    block_steps: int
    result_bytes: int

    def block(self, start: int) -> Block:
        """Compute the block that begins there."""

    def last_pictures(self, arrays: dict[str, Array], summary: dict[str, Any]) -> list[Picture]:
        """Pictures of everything together."""

    def metrics(self, arrays: dict[str, Array]) -> dict[str, float]:
        """What the job's record says of the result."""


def work_of(
    request: pb.SubmitExplanationRequest, subject: Subject, examples: Sequence[int]
) -> Work:
    """What the request asks of the subject.

    Raises:
        InvalidArgument: an unknown method, or what does not fit the model.
    """
    match request.WhichOneof("work"):
        case "explain":
            return _Explaining(request.explain, subject, examples)
        case "attack":
            return _Attacking(request.attack, subject, examples)
        case "robustness":
            return _Curve(request.robustness, subject)
    raise InvalidArgument("the request holds no explain, attack or robustness", "work")


class _Explaining:
    def __init__(
        self, request: pb.ExplainRequest, subject: Subject, examples: Sequence[int]
    ) -> None:
        self._subject = subject
        self._method = attribution(request.method)
        name = request.input.name
        rows = _examples(subject, name, examples)[0] if examples else None
        self._query = explain_query(request, rows)
        if examples:
            context = _context(subject, name, examples)
            self._query = replace(self._query, context=context)
        self._render = request.render
        self.steps = len(self._query.rows)
        self.block_steps = GRADIENT_BLOCK_ROWS if self._method.needs_gradient else BLOCK_ROWS
        # Attributions and player values are float64.
        self.result_bytes = 24 * self._query.rows.size
        _check_count(self._query.targets, self.steps, "targets")

    def block(self, start: int) -> Block:
        end = start + self.block_steps
        query = replace(
            self._query,
            rows=self._query.rows[start:end],
            targets=_part(self._query.targets, start, end),
            context={name: rows[start:end] for name, rows in self._query.context.items()},
            first_row=start,
        )
        answer = explain(self._method.run, self._subject, query)
        rows = len(answer.rows)
        arrays = {
            "outputs": answer.outputs,  # first, as what else is not finite follows from them
            "attributions": answer.attributions,
            "player_values": answer.player_values,
            "standard_errors": answer.standard_errors,
            "targets": answer.targets,
            "base_values": answer.base_values,
            "efficiency_gaps": answer.efficiency_gaps,
        }
        if answer.regions is not None:
            arrays["regions"] = answer.regions
        arrays = {n: a if len(a) == rows else np.zeros((rows, 0)) for n, a in arrays.items()}
        check_finite(answer, arrays, start)
        summary = {
            "output_name": answer.head.name,
            "output_space": answer.head.space,
            "background": answer.background,
            "exact": answer.is_exact,
            "seed": answer.seed,
        }
        pictures = explanation_pictures(answer) if self._render and start < MAX_PICTURES else []
        return Block(arrays, answer.evaluations, summary, _numbered(pictures, start))

    def last_pictures(self, arrays: dict[str, Array], summary: dict[str, Any]) -> list[Picture]:
        return []

    def metrics(self, arrays: dict[str, Array]) -> dict[str, float]:
        gaps, errors = arrays["efficiency_gaps"], arrays["standard_errors"]
        told = {"rows": float(self.steps)}
        if gaps.size:
            told["largest_gap"] = float(np.abs(gaps).max())
        if errors.size:
            told["largest_error"] = float(errors.max())
        return told


class _Attacking:
    def __init__(
        self, request: pb.AttackRequest, subject: Subject, examples: Sequence[int]
    ) -> None:
        self._subject = subject
        self._method = attack_method(request.method)
        name = request.input.name
        rows, labels = _examples(subject, name, examples) if examples else (None, None)
        query = attack_query(request, rows)
        if labels is not None and not query.labels:
            query = replace(query, labels=tuple(int(label) for label in labels))
        self._query = query
        self._render = request.render
        self.steps = len(query.rows)
        self.block_steps = GRADIENT_BLOCK_ROWS
        self.result_bytes = 2 * query.rows.nbytes
        _check_count(query.labels, self.steps, "labels")
        _check_count(query.targets, self.steps, "targets")

    def block(self, start: int) -> Block:
        end = start + self.block_steps
        query = replace(
            self._query,
            rows=self._query.rows[start:end],
            labels=_part(self._query.labels, start, end),
            targets=_part(self._query.targets, start, end),
            first_row=start,
        )
        answer = attack(self._method.name, self._method.perturb, self._subject, query)
        arrays = {
            "confidences_before": answer.confidences_before,
            "adversarial": answer.adversarial,
            "labels": np.asarray(answer.labels, np.int64),
            "predictions_before": answer.predictions_before,
            "predictions_after": answer.predictions_after,
            "confidences_after": answer.confidences_after,
            "distances_linf": answer.distances_linf,
            "distances_l2": answer.distances_l2,
            "distances_l0": answer.distances_l0,
            "queries": answer.queries,
            "gradients": answer.gradients,
            "successes": answer.successes,
        }
        check_finite(answer, arrays, start)
        summary = {
            "output_name": answer.head.name,
            "epsilon": answer.ball.epsilon,
            "norm": answer.ball.norm,
            "units": answer.ball.box.units,
            "value_range": list(answer.ball.box.finite_range()),
        }
        pictures = adversarial_pictures(answer) if self._render and start < MAX_PICTURES else []
        # The outputs before and after too.
        runs = int(answer.queries.sum() + answer.gradients.sum()) + 2 * len(answer.rows)
        return Block(arrays, runs, summary, _numbered(pictures, start))

    def last_pictures(self, arrays: dict[str, Array], summary: dict[str, Any]) -> list[Picture]:
        return []

    def metrics(self, arrays: dict[str, Array]) -> dict[str, float]:
        return {
            "rows": float(self.steps),
            "success_rate": float(arrays["successes"].mean()),
            "largest_distance": float(arrays[f"distances_{self._query.norm}"].max()),
        }


class _Curve:
    """One radius is a block."""

    def __init__(self, request: pb.EvaluateRobustnessRequest, subject: Subject) -> None:
        if request.beside:
            raise InvalidArgument("a job's curve is of one model; submit one for each", "beside")
        self._subject = subject
        self._method = attack_method(request.method)
        self._max_examples = request.max_examples
        self._render = request.render
        self._radii = tuple(request.epsilons) or tuple(default_radii(subject, self._method.perturb))
        self.steps = len(self._radii)
        # The smallest changes are searched once for all radii.
        self.block_steps = 1 if self._method.perturb.is_bounded else self.steps
        self.result_bytes = 16 * self.steps
        self._norm = norm_of(request)
        self._parameters = settle(self._method.name, self._method.parameters, request.parameters)

    def block(self, start: int) -> Block:
        answer = evaluate_robustness(
            self._method.name,
            self._method.perturb,
            self._subject,
            self._radii[start : start + self.block_steps],
            self._max_examples,
            norm=self._norm,
            parameters=self._parameters,
        )
        arrays = {
            "epsilons": np.array([ball.epsilon for ball in answer.balls]),
            "accuracies": np.array(answer.accuracies),
        }
        summary = {
            "examples": answer.examples,
            "units": answer.balls[0].box.units,
            "norm": self._norm,
        }
        return Block(arrays, None, summary)

    def last_pictures(self, arrays: dict[str, Array], summary: dict[str, Any]) -> list[Picture]:
        if not self._render:
            return []
        box = box_of(self._subject)
        answer = Robustness(
            manifest=self._subject.manifest,
            method=self._method.name,
            balls=tuple(Ball(float(r), box, self._norm) for r in arrays["epsilons"]),
            accuracies=tuple(float(a) for a in arrays["accuracies"]),
            examples=summary["examples"],
        )
        return robustness_pictures(answer)

    def metrics(self, arrays: dict[str, Array]) -> dict[str, float]:
        return {"radii": float(self.steps), "lowest_accuracy": float(arrays["accuracies"].min())}


def _examples(subject: Subject, name: str, examples: Sequence[int]) -> tuple[Array, Array | None]:
    """Rows and labels of some of the version's held-out examples, by an input; "": the first."""
    start, count = examples
    reference = subject.reference()
    names = [tensor.name for tensor in subject.manifest.inputs]
    name = name or names[0]
    if name not in names:
        raise InvalidTensor(
            f"{subject.label} has the inputs {', '.join(names)}, got '{name}'", "input"
        )
    if name not in reference.inputs:
        raise FailedPrecondition(f"the examples of {subject.label} have no input '{name}'")
    every = check_rows(subject.explaining(name, {}), reference.inputs[name])
    end = start + count if count else len(every)
    if not start < end <= len(every):
        asked = f"{start} to {end - 1}" if start < end else f"from {start} on"
        raise InvalidArgument(
            f"examples {asked}: {subject.label} has {len(every)}, 0 to {len(every) - 1}",
            "examples",
        )
    labels = None if reference.labels is None else reference.labels[start:end]
    return every[start:end], labels


def _context(subject: Subject, name: str, examples: Sequence[int]) -> dict[str, Array]:
    """What the same examples have for the inputs that are not explained."""
    start, count = examples
    explained = name or subject.input.name
    inputs = subject.reference().inputs
    others = [t.name for t in subject.manifest.inputs if t.name != explained and t.name in inputs]
    return {other: inputs[other][start : start + count if count else None] for other in others}


def _check_count(classes: Sequence[int], rows: int, field: str) -> None:
    if len(classes) not in (0, 1, rows):
        raise InvalidArgument(
            f"{len(classes)} {field} for {rows} rows; give one for each, or one for all", field
        )


def _part(classes: tuple[int, ...], start: int, end: int) -> tuple[int, ...]:
    return classes if len(classes) < 2 else classes[start:end]


def _numbered(pictures: list[Picture], start: int) -> list[Picture]:
    """Pictures of a block's rows, by the rows' numbers in the job."""
    renamed = []
    for row, picture in enumerate(pictures, start):
        stem = picture.name.rpartition("-")[0]
        if row < MAX_PICTURES:
            renamed.append(Picture(f"{stem}-{row}.{picture.suffix}", picture.content))
    return renamed


def blocks_in(work: Work) -> int:
    """How many blocks the work has."""
    return math.ceil(work.steps / work.block_steps)
