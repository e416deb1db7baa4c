"""Attacks of one request, and the accuracy curve over the artefact's own examples."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from services.explanation.arrays import Array
from services.explanation.attacks.ball import Ball, distance_linf
from services.explanation.attacks.robustness import accuracy_curve
from services.explanation.attributions.saliency import Gradient
from services.explanation.heads import Head
from services.explanation.inputs import check_classes, check_rows
from services.explanation.subject import Subject
from wintergarden.errors import FailedPrecondition, InvalidArgument
from wintergarden.store import Manifest

RADII = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
"""Default radii of a curve, in widths of the valid range."""

MAX_RADII = 100


@dataclass(frozen=True, eq=False)
class AttackQuery:
    """What a caller wants; empty values ask for the default.

    Attributes:
        rows: [N, …].
        epsilon_linf: Radius in the L∞ norm, in the input's own units.
        input_name: As the caller calls the input.
        labels: The true classes, one per row or one for all; the predicted ones if empty.
        targets: The classes wanted instead; any other if empty.
        value_range: Lowest and highest valid value; the manifest's if empty.
        output_name: Which logits.
    """

    rows: Array
    epsilon_linf: float
    input_name: str = ""
    labels: tuple[int, ...] = ()
    targets: tuple[int, ...] = ()
    value_range: tuple[float, ...] = ()
    output_name: str = ""


@dataclass(frozen=True, eq=False)
class Adversarial:
    """The answer.

    Shape:
        rows, adversarial: (N, …).
        labels: (N,), the classes that were to be left; targets: (N,) or None.
        logits_before, logits_after: (N, K).
    """

    manifest: Manifest
    method: str
    head: Head
    ball: Ball
    rows: Array
    adversarial: Array
    labels: Array
    targets: Array | None
    logits_before: Array
    logits_after: Array

    @property
    def predictions_before(self) -> Array:
        return _predictions(self.logits_before)

    @property
    def predictions_after(self) -> Array:
        return _predictions(self.logits_after)

    @property
    def confidences_before(self) -> Array:
        """Softmax probability of the prediction."""
        return _confidences(self.logits_before)

    @property
    def confidences_after(self) -> Array:
        return _confidences(self.logits_after)

    @property
    def successes(self) -> Array:
        """Targeted: the wanted class is predicted. Untargeted: another than the label."""
        after, wanted = self.predictions_after, self.targets
        hit: Array = after != self.labels if wanted is None else after == wanted
        return hit

    @property
    def distances_linf(self) -> Array:
        return distance_linf(self.rows, self.adversarial)


@dataclass(frozen=True, eq=False)
class Robustness:
    """Accuracy at each ball's radius, over so many examples."""

    manifest: Manifest
    method: str
    balls: tuple[Ball, ...]
    accuracies: tuple[float, ...]
    examples: int


Perturbation = Callable[..., Array]
"""As `attacks.fgsm.fgsm`: gradient, rows, logits, classes, ball, is_targeted to moved rows."""


def attack(method: str, perturb: Perturbation, subject: Subject, query: AttackQuery) -> Adversarial:
    """Move each row within its ball so that the model errs.

    Raises:
        InvalidArgument: naming the field, what was got and what is allowed.
        Unsupported: no logits to attack, or an operator without a backward rule.
    """
    rows = check_rows(subject, query.rows, query.input_name)
    ball = ball_of(subject, query.epsilon_linf, query.value_range)
    ball.check_centre(rows)
    head = subject.logits_head(query.output_name)
    logits = subject.outputs(rows, head)
    _require_classes(logits, head)
    labels = check_classes(query.labels, len(rows), logits.shape[1], "labels")
    targets = check_classes(query.targets, len(rows), logits.shape[1], "targets")
    if labels is None:
        labels = logits.argmax(axis=1)
    moved = perturb(
        _gradient(subject, head),
        rows,
        logits,
        labels if targets is None else targets,
        ball,
        is_targeted=targets is not None,
    )
    return Adversarial(
        manifest=subject.manifest,
        method=method,
        head=head,
        ball=ball,
        rows=rows,
        adversarial=moved,
        labels=labels,
        targets=targets,
        logits_before=logits,
        logits_after=subject.outputs(moved, head),
    )


def evaluate_robustness(
    method: str,
    perturb: Perturbation,
    subject: Subject,
    epsilons_linf: Sequence[float] = (),
    max_examples: int = 0,
) -> Robustness:
    """Accuracy of the attacked model over its held-out reference examples.

    Raises:
        InvalidArgument: radii that mean nothing, or none where the input has no valid range.
        FailedPrecondition: the artefact has no labelled examples.
    """
    if max_examples < 0:
        raise InvalidArgument(f"max_examples={max_examples}: 0 (all) or above", "max_examples")
    if len(epsilons_linf) > MAX_RADII:
        raise InvalidArgument(
            f"{len(epsilons_linf)} radii; at most {MAX_RADII} are allowed", "epsilons_linf"
        )
    radii = epsilons_linf or _default_radii(subject)
    balls = tuple(ball_of(subject, radius) for radius in radii)
    reference = subject.reference()
    if reference.labels is None:
        raise FailedPrecondition(f"the reference examples of {subject.label} have no labels")
    count = max_examples or len(reference.labels)
    rows = check_rows(subject, reference.inputs[subject.input.name])[:count]
    labels = reference.labels[:count].astype(np.int64)
    head = subject.logits_head("")
    logits = subject.outputs(rows, head)
    _require_classes(logits, head)

    def perturbed(clean: Array, classes: Array, ball: Ball) -> Array:
        ball.check_centre(clean)
        gradient = _gradient(subject, head)
        return perturb(gradient, clean, logits, classes, ball, is_targeted=False)

    accuracies = accuracy_curve(
        lambda batch: subject.outputs(batch, head), perturbed, rows, labels, balls
    )
    return Robustness(subject.manifest, method, balls, tuple(accuracies), len(rows))


def ball_of(subject: Subject, epsilon: float, value_range: Sequence[float] = ()) -> Ball:
    """The ball in the input's own units, within the range given or the manifest's."""
    if len(value_range) not in (0, 2):
        raise InvalidArgument(
            f"value_range has {len(value_range)} numbers; give the lowest and the highest value",
            "value_range",
        )
    low, high = value_range or subject.input.value_range or (-math.inf, math.inf)
    return Ball(epsilon, low, high, units_of(subject))


def units_of(subject: Subject) -> str:
    """The input's units in a few words."""
    return subject.input.units.split(",")[0] or "the input's own units"


def softmax(logits: Array) -> Array:
    """Along the last axis, in double precision."""
    wide = logits.astype(np.float64)
    powers = np.exp(wide - wide.max(axis=-1, keepdims=True))
    probabilities: Array = powers / powers.sum(axis=-1, keepdims=True)
    return probabilities


def _predictions(logits: Array) -> Array:
    best: Array = logits.argmax(axis=1)
    return best


def _confidences(logits: Array) -> Array:
    best: Array = softmax(logits).max(axis=1)
    return best


def _gradient(subject: Subject, head: Head) -> Gradient:
    return lambda rows, weights: subject.gradient(rows, weights, head)


def _default_radii(subject: Subject) -> list[float]:
    if subject.input.value_range is None:
        raise InvalidArgument(
            f"the input of {subject.label} has no valid range to take radii from; name "
            f"epsilons_linf in units of {units_of(subject)}",
            "epsilons_linf",
        )
    low, high = subject.input.value_range
    return [radius * (high - low) for radius in RADII]


def _require_classes(logits: Array, head: Head) -> None:
    if logits.shape[1] < 2:
        raise InvalidArgument(f"'{head.name}' has one column; an attack needs two classes or more")
