"""Accuracy under attack as a function of ε."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from services.explanation.arrays import Array, Predict
from services.explanation.attacks.ball import Ball

Attack = Callable[[Array, Array, Ball], Array]
"""Rows [N, …], their true classes [N] and a ball to adversarial rows."""


def accuracy_curve(
    predict: Predict, attack: Attack, rows: Array, labels: Array, balls: Sequence[Ball]
) -> list[float]:
    """The share of rows still classified right, for each ball."""
    return [
        float((predict(attack(rows, labels, ball)).argmax(axis=1) == labels).mean())
        for ball in balls
    ]
