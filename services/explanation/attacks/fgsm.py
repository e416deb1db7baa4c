"""The fast gradient sign method.

Goodfellow, Shlens, Szegedy, "Explaining and Harnessing Adversarial Examples", 2014, §4.
https://arxiv.org/abs/1412.6572

x′ = x + ε · sign(∇ₓ J(θ, x, y)), clipped to the valid range; targeted at class t, the step goes
down J(θ, x, t) instead (Kurakin, Goodfellow, Bengio, 2016, §2.3, https://arxiv.org/abs/1611.01236).

J is the cross-entropy of the softmax over the **logits** z. It equals log(1 + exp m) with the
margin m = log Σ_{j≠y} exp z_j − z_y, so its gradient points where the margin's points. The
margin's does not vanish where the softmax saturates: in float32 the cross-entropy of a confident
answer has a gradient of zero or, worse, one that has lost the true class's part.
"""

from __future__ import annotations

import numpy as np

from services.explanation.arrays import Array
from services.explanation.attacks.ball import Ball
from services.explanation.attributions.saliency import Gradient


def fgsm(
    gradient: Gradient, rows: Array, logits: Array, classes: Array, ball: Ball, *, is_targeted: bool
) -> Array:
    """One step of size ε from each row.

    Args:
        gradient: Of the logits.
        rows: [N, …] within the valid range.
        logits: [N, K] of the rows.
        classes: [N]: the true ones, to be left; if targeted, the wanted ones, to be reached.
        ball: ε and the valid range.
        is_targeted: Whether `classes` are wanted.

    Returns:
        x′ of the rows' shape and type, inside the ball.
    """
    ball.check_centre(rows)
    slope = np.nan_to_num(np.sign(gradient(rows, margin_weights(logits, classes))))
    step = np.float64(ball.epsilon) * (-slope if is_targeted else slope)
    return ball.project(rows, rows.astype(np.float64) + step)


def margin_weights(logits: Array, classes: Array) -> Array:
    """∂m/∂z: the softmax over all classes but y, and −1 at y. [N, K] in the logits' type."""
    chosen = np.zeros(logits.shape, bool)
    chosen[np.arange(len(classes)), classes] = True
    others = np.where(chosen, -np.inf, logits.astype(np.float64))
    weights = np.exp(others - others.max(axis=1, keepdims=True))
    weights /= weights.sum(axis=1, keepdims=True)
    weights[chosen] = -1
    typed: Array = weights.astype(logits.dtype)
    return typed
