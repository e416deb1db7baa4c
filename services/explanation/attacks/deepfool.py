"""DeepFool: to the nearest border of the model's linearisation, again and again.

Moosavi-Dezfooli, Fawzi, Frossard, "DeepFool: a simple and accurate method to fool deep neural
networks", CVPR 2016, algorithm 2; §3.3 for other norms. https://arxiv.org/abs/1511.04599

Departure from the paper: only the classes that looked likeliest at first are borders that are
tried (as the authors' code does); targeted, the wanted class is the only one.
"""

from __future__ import annotations

import numpy as np

from services.explanation.arrays import Array
from services.explanation.attacks.ball import Norm
from services.explanation.attacks.box import Box
from services.explanation.attacks.norms import lengths, rowwise
from services.explanation.attacks.victim import Victim, one_hot

_FURTHER = 1e-4  # added to the distance so that a border is crossed and not only reached
_MOST_BYTES = 1 << 23  # of the slopes of borders that are looked at together


def deepfool(
    victim: Victim,
    rows: Array,
    box: Box,
    *,
    norm: Norm = "l2",
    steps: int = 50,
    overshoot: float = 0.02,
    candidates: int = 10,
) -> Array:
    """Rows moved about as little as it takes; one that holds after all steps is where they led.

    Args:
        victim: The model and what is wanted of it.
        rows: [N, …] within the box.
        box: Where they may go.
        norm: What is kept small.
        steps: At most.
        overshoot: Share of the way that is gone beyond the border.
        candidates: Classes tried, the true one not counted.
    """
    moved, total = rows.copy(), np.zeros(rows.shape)
    left, rivals = victim.all, np.zeros((len(rows), 0), np.int64)
    for step in range(steps + 1):
        if not len(left):
            break
        logits = victim.logits(moved[left], left)
        if step == 0:
            rivals = _rivals(victim, logits, candidates)
        unmoved = ~victim.is_fooled(logits, left)
        left, logits = left[unmoved], logits[unmoved]
        if step == steps or not len(left):
            break
        x = rows[left]
        total[left] += _to_nearest(
            victim, moved[left], logits, left, rivals[left], box=box, norm=norm
        )
        moved[left] = box.project(x, x.astype(np.float64) + (1 + overshoot) * total[left])
    return moved


def _rivals(victim: Victim, logits: Array, candidates: int) -> Array:
    """[N, C]: the classes that each row may be moved to."""
    if victim.is_targeted:
        return victim.classes[:, None]
    others = logits.astype(np.float64)
    others[victim.all, victim.classes] = -np.inf
    best: Array = np.argsort(-others, axis=1)[:, : min(candidates, logits.shape[1] - 1)]
    return best


def _to_nearest(
    victim: Victim,
    x: Array,
    logits: Array,
    left: Array,
    rivals: Array,
    *,
    box: Box,
    norm: Norm,
) -> Array:
    """The step to the nearest of the rivals' borders, float64 [n, …]."""
    # A thousand rivals have a thousand slopes for each row: only the nearest is kept.
    width = max(1, _MOST_BYTES // (8 * max(1, x.size + logits.size)))
    shortest, step = np.full(len(x), np.inf), np.zeros(x.shape)
    for start in range(0, rivals.shape[1], width):
        some = rivals[:, start : start + width]
        behind, slopes = _borders(victim, x, logits, left, some)
        away, way = _nearest(behind, box.hold_slope(slopes), norm)
        nearer = away < shortest
        shortest[nearer], step[nearer] = away[nearer], way[nearer]
    return step


def _borders(
    victim: Victim, x: Array, logits: Array, left: Array, rivals: Array
) -> tuple[Array, Array]:
    """How far each rival's logit is behind [n, C], and the slope of that [n, C, …]; float64."""
    count, classes = rivals.shape[1], logits.shape[1]
    home = logits.argmax(axis=1) if victim.is_targeted else victim.classes[left]
    weights = one_hot(rivals.ravel(), classes, logits.dtype)
    weights -= one_hot(np.repeat(home, count), classes, logits.dtype)
    slopes = victim.slope(np.repeat(x, count, axis=0), weights, np.repeat(left, count))
    wide = logits.astype(np.float64)
    behind = np.take_along_axis(wide, home[:, None], 1) - np.take_along_axis(wide, rivals, 1)
    return behind, slopes.reshape(*rivals.shape, *x.shape[1:])


def _nearest(behind: Array, slopes: Array, norm: Norm) -> tuple[Array, Array]:
    """How far the nearest border is, float64 [n], and the step there [n, …]."""
    flat = slopes.reshape(-1, *slopes.shape[2:])
    dual = lengths(flat, "l1" if norm == "linf" else "l2").reshape(behind.shape)
    away = np.abs(behind) / np.maximum(dual, 1e-300)
    nearest = away.argmin(axis=1)
    here = np.arange(len(behind))
    slope, away, dual = slopes[here, nearest], away[here, nearest], dual[here, nearest]
    direction = np.sign(slope) if norm == "linf" else slope / rowwise(dual + 1e-300, slope)
    return away, rowwise(away + _FURTHER, slope) * direction
