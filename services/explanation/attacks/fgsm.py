"""The fast gradient sign method.

Goodfellow, Shlens, Szegedy, "Explaining and Harnessing Adversarial Examples", 2014, §4.
https://arxiv.org/abs/1412.6572

x′ = x + ε · sign(∇ₓ J(θ, x, y)), clipped to the valid range; targeted at class t, the step goes
down J(θ, x, t) instead (Kurakin, Goodfellow, Bengio, 2016, §2.3, https://arxiv.org/abs/1611.01236).
J is the cross-entropy over the logits, whose direction is the margin's (see `Victim`).
"""

from __future__ import annotations

import numpy as np

from services.explanation.arrays import Array
from services.explanation.attacks.ball import Ball
from services.explanation.attacks.victim import Victim


def fgsm(victim: Victim, rows: Array, ball: Ball) -> Array:
    """One step of length ε from each row.

    Args:
        victim: The model and what is wanted of it.
        rows: [N, …] within the valid range.
        ball: ε, its norm and the valid range.

    Returns:
        x′ of the rows' shape and type, inside the ball.
    """
    logits = victim.unmoved(rows)
    direction = ball.steepest(victim.climb(rows, logits, victim.all))
    return ball.project(rows, rows.astype(np.float64) + ball.epsilon * direction)
