"""Carlini and Wagner's L2 attack.

Carlini, Wagner, "Towards Evaluating the Robustness of Neural Networks", S&P 2017, §V and §VI.A.
https://arxiv.org/abs/1608.04644

minimise ‖x′ − x‖² + c · max(max_{j≠y} … , −κ) over w with x′ = the valid range's tanh of w, by
Adam; c is searched by bisection, row by row.
"""

from __future__ import annotations

import numpy as np

from services.explanation.arrays import Array
from services.explanation.attacks.box import Box
from services.explanation.attacks.norms import distances, rowwise
from services.explanation.attacks.victim import Victim, one_hot

_LARGEST = 1e10
_SQUASH = 1 - 1e-6  # arctanh is infinite at the ends of the range
_ABORT_CHECKS = 10
_LAST_SEARCH = 9  # with so many before it, the last constant is one that has succeeded
_NO_PROGRESS = 0.9999


def carlini_wagner(
    victim: Victim,
    rows: Array,
    box: Box,
    *,
    steps: int = 1000,
    searches: int = 9,
    learning_rate: float = 0.01,
    confidence: float = 0.0,
    first_constant: float = 1e-3,
) -> Array:
    """Rows moved as little as could be found; one that could not be fooled is left as it was.

    So is one that fools the model unmoved: tanh does not come back from arctanh to the last bit.

    Args:
        victim: The model and what is wanted of it.
        rows: [N, …] within the box.
        box: Where they may go; it must have a finite range.
        steps: Of Adam, for each constant.
        searches: Constants tried.
        learning_rate: Of Adam, in widths of half the range in tanh space.
        confidence: κ, by how much the fooled logit must lead.
        first_constant: c at first.
    """
    low, high = box.require_range("carlini_wagner")
    middle, half = (low + high) / 2, (high - low) / 2
    moved, logits = rows.copy(), victim.unmoved(rows)
    lead, _ = _lead(victim, logits, victim.all, confidence)
    which = np.nonzero((lead > 0) | ~victim.is_fooled(logits, victim.all))[0]
    if not len(which):
        return moved
    rows = rows[which]
    start = np.arctanh((rows.astype(np.float64) - middle) / half * _SQUASH)
    # Where tanh comes back from arctanh: what the distance is measured from.
    origin = np.tanh(start) * half + middle
    count = len(rows)
    constants = np.full(count, first_constant)
    least, most = np.zeros(count), np.full(count, _LARGEST)
    best, shortest = rows.copy(), np.full(count, np.inf)
    for search in range(searches):
        if search == searches - 1 >= _LAST_SEARCH:
            constants = np.minimum(most, _LARGEST)
        change = np.zeros(rows.shape)
        mean, square = np.zeros(rows.shape), np.zeros(rows.shape)
        hit = np.zeros(count, bool)
        before = np.inf
        for step in range(1, steps + 1):
            squashed = np.tanh(start + change)
            x = box.project(rows, squashed * half + middle)
            logits = victim.logits(x, which)
            lead, weights = _lead(victim, logits, which, confidence)
            away = distances(rows, x, "l2")
            fooled = (lead <= 0) & victim.is_fooled(logits, which)
            hit |= fooled
            better = fooled & (away < shortest)
            best[better], shortest[better] = x[better], away[better]
            loss = float((constants * np.maximum(lead, 0) + away**2).sum())
            if step % max(1, steps // _ABORT_CHECKS) == 0:
                if loss > before * _NO_PROGRESS:
                    break
                before = loss
            active = np.nonzero(lead > 0)[0]
            pull = 2 * (squashed * half + middle - origin)
            if len(active):
                push = victim.slope(x[active], weights[active], which[active])
                pull[active] += rowwise(constants[active], push) * push
            slope = box.hold_slope(pull * half * (1 - squashed**2))
            mean = 0.9 * mean + 0.1 * slope
            square = 0.999 * square + 0.001 * slope**2
            corrected = np.sqrt(square / (1 - 0.999**step)) + 1e-8
            change -= learning_rate * mean / (1 - 0.9**step) / corrected
        most = np.where(hit, np.minimum(most, constants), most)
        least = np.where(hit, least, np.maximum(least, constants))
        found = most < _LARGEST
        constants = np.where(found, (least + most) / 2, constants * 10)
    moved[which] = best
    return moved


def _lead(victim: Victim, logits: Array, which: Array, confidence: float) -> tuple[Array, Array]:
    """By how much the wrong logit leads, plus κ: float64 [n]; and its slope by logits [n, K]."""
    here, classes = np.arange(len(which)), victim.classes[which]
    chosen = one_hot(classes, logits.shape[1], np.dtype(bool))
    wide = logits.astype(np.float64)
    rival = np.where(chosen, -np.inf, wide).argmax(axis=1)
    lead = wide[here, classes] - wide[here, rival]
    weights = one_hot(classes, logits.shape[1], logits.dtype)
    weights[here, rival] = -1
    if victim.is_targeted:
        lead, weights = -lead, -weights
    return lead + confidence, weights
