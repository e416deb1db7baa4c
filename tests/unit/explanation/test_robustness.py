"""Curves of accuracy of a model small enough to know where its borders are."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from services.explanation.attack import AttackQuery, attack, evaluate_robustness
from services.explanation.attack_methods import ATTACKS
from services.explanation.heads import Head
from services.explanation.parameters import settle
from wintergarden.errors import InvalidArgument

WEIGHTS = np.float32([[1, -1], [1, -1]])  # the border is x + y = 1
BIAS = np.float32([0, 2])
ROWS = np.float32([[0.9, 0.8], [0.8, 0.7], [0.1, 0.3], [0.9, 0.9]])
LABELS = np.array([0, 0, 1, 1])  # the last is wrong
FEW = {"carlini_wagner": {"steps": 200, "learning_rate": 0.05}, "boundary": {"steps": 200}}


def subject(rows: np.ndarray = ROWS, labels: np.ndarray = LABELS) -> Any:
    """What a curve asks of a served model."""
    return SimpleNamespace(
        manifest=None,
        label="the line",
        is_of_tokens=False,
        input=SimpleNamespace(
            name="point", datatype="FP32", shape=[-1, 2], value_range=(0.0, 1.0), units="metres"
        ),
        token_table=lambda: None,
        reference=lambda: SimpleNamespace(inputs={"point": rows}, labels=labels),
        logits_head=lambda _name, _needs_gradient: Head("logits", "logit"),
        outputs=lambda x, _head: x @ WEIGHTS + BIAS,
        gradient=lambda _x, weights, _head: weights @ WEIGHTS.T,
    )


@pytest.mark.parametrize(
    "method", [m for m in ATTACKS if not m.perturb.is_bounded], ids=lambda method: method.name
)
def test_a_row_that_is_wrong_unmoved_is_robust_to_nothing(method) -> None:
    numbers = settle(method.name, method.parameters, FEW.get(method.name, {}))
    curve = evaluate_robustness(
        method.name, method.perturb, subject(), (0, 0.1, 2), norm="l2", parameters=numbers
    )
    assert curve.accuracies == (0.75, 0.75, 0)


def test_a_wanted_confidence_does_not_make_a_wrong_row_robust() -> None:
    method = next(m for m in ATTACKS if m.name == "carlini_wagner")
    numbers = settle(method.name, method.parameters, FEW[method.name] | {"confidence": 2})
    curve = evaluate_robustness(
        method.name, method.perturb, subject(), (0,), norm="l2", parameters=numbers
    )
    assert curve.accuracies == (0.75,)


@pytest.mark.parametrize("label", [-1, 2])
def test_labels_of_another_model_that_this_one_does_not_know(label: int) -> None:
    other = subject(labels=np.array([0, 0, 1, label]))
    method = next(m for m in ATTACKS if m.name == "fgsm")
    with pytest.raises(InvalidArgument, match=f"labels: {label} is not among 0 to 1"):
        evaluate_robustness(method.name, method.perturb, subject(), (0.1,), examples_of=other)


def broken(where: Callable[[np.ndarray], np.ndarray], number: float) -> Any:
    """The line, whose logits of class 1 are another number at some points."""

    def outputs(x: np.ndarray, _head: Head) -> np.ndarray:
        logits = x @ WEIGHTS + BIAS
        logits[where(x), 1] = number
        return logits

    line = subject()
    line.outputs = outputs
    return line


@pytest.mark.parametrize("number", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["fgsm", "square", "deepfool"])
def test_logits_that_are_not_finite_are_refused_before_they_are_attacked(
    name: str, number: float
) -> None:
    method = next(m for m in ATTACKS if m.name == name)
    line = broken(lambda x: x[:, 0] < 0.5, number)
    refused = rf"output 'logits' of the line is {number} for row 2; "
    epsilon = 0.1 if method.perturb.is_bounded else 0
    asked = AttackQuery(ROWS, epsilon, parameters=settle(name, method.parameters, {}))
    line.gradient = None
    with pytest.raises(InvalidArgument, match=refused):
        attack(name, method.perturb, line, asked)
    with pytest.raises(InvalidArgument, match=refused):
        evaluate_robustness(
            name, method.perturb, line, (0.1,), parameters=settle(name, method.parameters, {})
        )


def test_where_an_attack_finds_no_number_it_has_not_won() -> None:
    method = next(m for m in ATTACKS if m.name == "fgsm")
    line = broken(lambda x: (x[:, 0] > 0.2) & (x[:, 0] < 0.75), np.nan)
    refused = "output 'logits' of the line is nan for row 1 as the attack moved it; "
    with pytest.raises(InvalidArgument, match=refused):
        attack("fgsm", method.perturb, line, AttackQuery(ROWS, 0.1))
    with pytest.raises(InvalidArgument, match=refused):
        evaluate_robustness("fgsm", method.perturb, line, (0.1,))


def test_a_class_that_is_ruled_out_does_not_hinder_the_others() -> None:
    """A mask writes minus infinity for a class: the rest have a softmax all the same."""
    method = next(m for m in ATTACKS if m.name == "fgsm")
    line = subject()
    line.outputs = lambda x, _head: np.pad(
        x @ WEIGHTS + BIAS, ((0, 0), (0, 1)), constant_values=-np.inf
    )
    line.gradient = lambda _x, weights, _head: weights[:, :2] @ WEIGHTS.T
    answer = attack("fgsm", method.perturb, line, AttackQuery(ROWS, 0.5, labels=(0, 0, 1, 0)))
    assert answer.successes.all()
