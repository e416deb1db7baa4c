"""Attacks of one request, and the accuracy curve over the artefact's own examples."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from services.explanation.arrays import Array
from services.explanation.attacks.ball import Ball, Norm
from services.explanation.attacks.box import Box
from services.explanation.attacks.choices import OneOf, Tokens, check_groups
from services.explanation.attacks.norms import distances
from services.explanation.attacks.victim import Victim
from services.explanation.finite import check_finite
from services.explanation.heads import Head
from services.explanation.inputs import check_classes, check_rows
from services.explanation.parameters import NO_NUMBERS, Numbers
from services.explanation.subject import Subject
from wintergarden.errors import FailedPrecondition, InvalidArgument, Unsupported
from wintergarden.store import Manifest
from wintergarden.text import Vocabulary

RADII = (0.0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3)
"""Default radii of a curve, in widths of the valid range."""

FLIPS = (0.0, 1.0, 2.0, 3.0, 4.0, 5.0)
"""Default radii of a curve of flips."""

MAX_RADII = 100

_MOVED = " as the attack moved it"


@dataclass(frozen=True, eq=False)
class AttackQuery:
    """What a caller wants; empty values ask for the default.

    Attributes:
        rows: [N, …].
        epsilon: Radius in the input's own units; 0 for a method that looks for the smallest change.
        input_name: As the caller calls the input.
        labels: The true classes, one per row or one for all; the predicted ones if empty.
        targets: The classes wanted instead; any other if empty.
        value_range: Lowest and highest valid value; the manifest's if empty.
        output_name: Which logits.
        norm: What epsilon and distances are measured in.
        changeable: bool of a row's shape; None: every element may change.
        one_of: Groups of columns of which one is 1 and the others are 0. A method that flips moves
            the one; all others leave these columns alone.
        parameters: Of the method.
        first_row: What the first of the rows is called in messages.
    """

    rows: Array
    epsilon: float = 0.0
    input_name: str = ""
    labels: tuple[int, ...] = ()
    targets: tuple[int, ...] = ()
    value_range: tuple[float, ...] = ()
    output_name: str = ""
    norm: Norm = "linf"
    changeable: Array | None = None
    one_of: tuple[tuple[int, ...], ...] = ()
    parameters: Numbers = field(default_factory=dict)
    first_row: int = 0


@dataclass(frozen=True, eq=False)
class Adversarial:
    """The answer.

    Shape:
        rows, adversarial: (N, …).
        labels: (N,), the classes that were to be left; targets: (N,) or None.
        logits_before, logits_after: (N, K).
        queries, gradients: (N,), how often the model, and its gradient, was run on each row.
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
    queries: Array
    gradients: Array

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
        """Largest change of any element, per row; exact. Empty of tokens."""
        return self._distances("linf")

    @property
    def distances_l2(self) -> Array:
        return self._distances("l2")

    def _distances(self, norm: Norm) -> Array:
        """A token's number is its name: between two of them is no distance."""
        is_of_numbers = self.rows.dtype.kind == "f"
        return distances(self.rows, self.adversarial, norm) if is_of_numbers else np.zeros(0)

    @property
    def distances_l0(self) -> Array:
        """How many elements are others; of what was flipped, how many tokens or groups."""
        choices = self.ball.box.choices
        if choices is None or self.ball.norm != "l0":
            return distances(self.rows, self.adversarial, "l0")
        return choices.changed(self.rows, self.adversarial).astype(np.float64)


@dataclass(frozen=True, eq=False)
class Robustness:
    """Accuracy at each ball's radius, over so many examples."""

    manifest: Manifest
    method: str
    balls: tuple[Ball, ...]
    accuracies: tuple[float, ...]
    examples: int


@dataclass(frozen=True)
class Perturbation:
    """How rows are moved.

    Attributes:
        move: Victim, rows, their ball and the method's numbers to moved rows.
        is_bounded: It stays within epsilon; else it looks for the smallest change.
        needs_gradient: It asks for slopes of the logits; else probabilities do as well.
        flips: It moves from one choice to another, whose number epsilon bounds.
    """

    move: Callable[[Victim, Array, Ball, Numbers], Array]
    is_bounded: bool = True
    needs_gradient: bool = True
    flips: bool = False

    @property
    def norms(self) -> tuple[Norm, ...]:
        """What epsilon may measure; the first where nobody says."""
        return ("l0",) if self.flips else ("linf", "l2")

    def check_input(self, method: str, subject: Subject, box: Box) -> None:
        """Refuse an input of a kind that it does not change.

        Raises:
            Unsupported: naming what does.
        """
        if self.flips and box.choices is None:
            raise Unsupported(
                f"{method} flips tokens that a table is looked up by, or columns of one_of; "
                f"{subject.label} takes {subject.input.datatype}: name a group of columns in "
                "one_of, or attack by pgd or boundary"
            )
        if not self.flips and subject.is_of_tokens:
            raise Unsupported(
                "attacks other than hotflip, which flips tokens, change FP16, FP32 and FP64 "
                f"inputs; {subject.label} takes {subject.input.datatype}; attributions such as "
                "integrated_gradients tell which of its elements matter"
            )

    def check_radius(self, method: str, epsilon: float) -> None:
        if self.flips and epsilon != int(epsilon):
            raise InvalidArgument(
                f"epsilon={epsilon}: {method} changes whole places; give their number", "epsilon"
            )
        if not self.is_bounded and epsilon:
            raise InvalidArgument(
                f"epsilon={epsilon}: {method} looks for the smallest change and takes none",
                "epsilon",
            )


def attack(method: str, perturb: Perturbation, subject: Subject, query: AttackQuery) -> Adversarial:
    """Move each row within its ball so that the model errs.

    Raises:
        InvalidArgument: naming the field, what was got and what is allowed.
        Unsupported: no logits to attack, or an operator without a backward rule.
    """
    rows = check_rows(subject, query.rows, query.input_name)
    box = box_of(subject, query.value_range, query.changeable)
    box.check_centre(rows)
    box = _with_groups(box, query.one_of, rows)
    ball = Ball(query.epsilon, box, query.norm)
    perturb.check_radius(method, query.epsilon)
    perturb.check_input(method, subject, box)
    head = subject.logits_head(query.output_name, perturb.needs_gradient)
    numbers = query.first_row + np.arange(len(rows))
    logits = _finite_logits(subject, rows, head, numbers)
    _require_classes(logits, head)
    labels = check_classes(query.labels, len(rows), logits.shape[1], "labels")
    targets = check_classes(query.targets, len(rows), logits.shape[1], "targets")
    if labels is None:
        labels = logits.argmax(axis=1)
    classes = labels if targets is None else targets
    victim = _victim(subject, head, classes, logits, is_targeted=targets is not None)
    moved = perturb.move(victim, rows, ball, query.parameters)
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
        logits_after=_finite_logits(subject, moved, head, numbers, _MOVED),
        queries=victim.queries,
        gradients=victim.gradients,
    )


def evaluate_robustness(
    method: str,
    perturb: Perturbation,
    subject: Subject,
    epsilons: Sequence[float] = (),
    max_examples: int = 0,
    *,
    norm: Norm = "linf",
    parameters: Numbers = NO_NUMBERS,
    examples_of: Subject | None = None,
) -> Robustness:
    """Accuracy of the attacked model over held-out reference examples: its own, or another's.

    A method that looks for the smallest change runs once: a row holds at every radius below its
    distance.

    Raises:
        InvalidArgument: radii that mean nothing, or none where the input has no valid range.
        FailedPrecondition: the artefact has no labelled examples.
    """
    if max_examples < 0:
        raise InvalidArgument(f"max_examples={max_examples}: 0 (all) or above", "max_examples")
    if len(epsilons) > MAX_RADII:
        raise InvalidArgument(f"{len(epsilons)} radii; at most {MAX_RADII} are allowed", "epsilons")
    radii = epsilons or default_radii(subject, perturb)
    box = box_of(subject)
    balls = tuple(Ball(radius, box, norm) for radius in radii)
    if perturb.is_bounded:
        for radius in radii:
            perturb.check_radius(method, radius)
    perturb.check_input(method, subject, box)
    owner = examples_of or subject
    reference = owner.reference()
    if reference.labels is None:
        raise FailedPrecondition(f"the reference examples of {owner.label} have no labels")
    count = max_examples or len(reference.labels)
    rows = check_rows(subject, reference.inputs[owner.input.name])[:count]
    labels = reference.labels[:count].astype(np.int64)
    head = subject.logits_head("", perturb.needs_gradient)
    numbers = np.arange(len(rows))
    logits = _finite_logits(subject, rows, head, numbers)
    _require_classes(logits, head)
    # Another's examples may have classes that this model does not know.
    check_classes(labels.tolist(), len(rows), logits.shape[1], "labels")
    box.check_centre(rows)

    def attacked(ball: Ball) -> tuple[Array, Array]:
        victim = _victim(subject, head, labels, logits, is_targeted=False)
        moved = perturb.move(victim, rows, ball, parameters)
        after = _finite_logits(subject, moved, head, numbers, _MOVED)
        return moved, _predictions(after) != labels

    if perturb.is_bounded:
        every = (attacked(ball)[1] for ball in balls)
        accuracies = [float((~fooled).mean()) for fooled in every]
    else:
        nearest, fooled = attacked(Ball(0.0, box, norm))
        away = np.where(fooled, distances(rows, nearest, norm), np.inf)
        away[logits.argmax(axis=1) != labels] = 0  # wrong as they are, wherever they were moved
        accuracies = [float((away > ball.epsilon).mean()) for ball in balls]
    return Robustness(subject.manifest, method, balls, tuple(accuracies), len(rows))


def box_of(
    subject: Subject,
    value_range: Sequence[float] = (),
    changeable: Array | None = None,
) -> Box:
    """In the input's own units, within the range given or the manifest's."""
    if len(value_range) not in (0, 2):
        raise InvalidArgument(
            f"value_range has {len(value_range)} numbers; give the lowest and the highest value",
            "value_range",
        )
    low, high = value_range or subject.input.value_range or (-math.inf, math.inf)
    choices = _tokens(subject, changeable) if subject.is_of_tokens else None
    return Box(low, high, units_of(subject), changeable, choices)


def _with_groups(box: Box, groups: Sequence[tuple[int, ...]], rows: Array) -> Box:
    """The box whose groups of columns change as a whole or not at all; `rows` are inside of it."""
    if not groups:
        return box
    check_groups(groups, rows)
    free = np.ones(rows.shape[1:], bool) if box.changeable is None else box.changeable.copy()
    choices = OneOf(tuple(group for group in groups if free[list(group)].all()))
    free[[column for group in groups for column in group]] = False
    return replace(box, changeable=free, choices=choices)


def _tokens(subject: Subject, changeable: Array | None) -> Tokens | None:
    """What may stand for a token: any that is text; None where nothing is looked up."""
    table = subject.token_table()
    if table is None:
        return None
    allowed = np.ones(len(table), bool)
    if fields := subject.manifest.vocabulary:
        vocabulary = Vocabulary.from_fields(fields.model_dump())
        allowed[: vocabulary.size - len(vocabulary.tokens)] = False
        allowed[vocabulary.size :] = False
    return Tokens(table, allowed, changeable)


def units_of(subject: Subject) -> str:
    """The input's units in a few words."""
    return subject.input.units.split(",")[0] or "the input's own units"


def softmax(logits: Array) -> Array:
    """Along the last axis, in double precision."""
    wide = logits.astype(np.float64)
    powers = np.exp(wide - wide.max(axis=-1, keepdims=True))
    probabilities: Array = powers / powers.sum(axis=-1, keepdims=True)
    return probabilities


def _logits(subject: Subject, rows: Array, head: Head) -> Array:
    """The head's [R, K]; of probabilities their logarithms, whose softmax they are."""
    outputs = subject.outputs(rows, head)
    if head.space != "probability":
        return outputs
    logits: Array = np.log(np.maximum(outputs, np.finfo(outputs.dtype).tiny))
    return logits


def _finite_logits(
    subject: Subject, rows: Array, head: Head, numbers: Array, moved: str = ""
) -> Array:
    """As `_logits`; minus infinity is allowed of a class, as long as another has a number."""
    logits = _logits(subject, rows, head)
    check_finite(subject, head, logits.max(axis=1), numbers, moved)
    return logits


def _predictions(logits: Array) -> Array:
    best: Array = logits.argmax(axis=1)
    return best


def _confidences(logits: Array) -> Array:
    best: Array = softmax(logits).max(axis=1)
    return best


def _victim(
    subject: Subject, head: Head, classes: Array, unmoved: Array, *, is_targeted: bool
) -> Victim:
    def slope(rows: Array, weights: Array) -> Array:
        if subject.is_of_tokens:  # by what they look up
            return subject.layer(rows, weights, head, subject.embedding())[1]
        return subject.gradient(rows, weights, head)

    return Victim(
        lambda rows: _logits(subject, rows, head),
        slope,
        classes,
        is_targeted=is_targeted,
        unmoved=unmoved,
    )


def default_radii(subject: Subject, perturb: Perturbation) -> list[float]:
    if perturb.flips:
        return list(FLIPS)
    if subject.input.value_range is None:
        raise InvalidArgument(
            f"the input of {subject.label} has no valid range to take radii from; name "
            f"epsilons in units of {units_of(subject)}",
            "epsilons",
        )
    low, high = subject.input.value_range
    return [radius * (high - low) for radius in RADII]


def _require_classes(logits: Array, head: Head) -> None:
    if logits.shape[1] < 2:
        raise InvalidArgument(f"'{head.name}' has one column; an attack needs two classes or more")
