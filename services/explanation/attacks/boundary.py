"""The boundary attack: nothing but the model's decision, walking along its border.

Brendel, Rauber, Bethge, "Decision-Based Adversarial Attacks", ICLR 2018, §2 and figure 2.
https://arxiv.org/abs/1712.04248
"""

from __future__ import annotations

import numpy as np

from services.explanation.arrays import Array
from services.explanation.attacks.box import Box
from services.explanation.attacks.norms import distances, lengths, rowwise
from services.explanation.attacks.victim import Victim

_FIRST_TRIES = 200
_BISECTIONS = 20
_ADAPT_EVERY = 10  # steps after which the step sizes follow what succeeded
_STEP_ADAPTATION = 1.5


def boundary(
    victim: Victim,
    rows: Array,
    box: Box,
    *,
    steps: int = 5000,
    around: float = 0.01,
    towards: float = 0.01,
    seed: int = 0,
) -> Array:
    """Rows moved as little as could be found; one that could not be fooled is left as it was.

    So is one that fools the model unmoved.

    Args:
        victim: The model and what is wanted of it; only its decisions are looked at.
        rows: [N, …] within the box.
        box: Where they may go; it must have a finite range.
        steps: Each costs one or two queries.
        around: First step along the border, in distances from the row.
        towards: First step towards the row, likewise.
        seed: Of what is drawn.
    """
    box.require_range("boundary")
    rng = np.random.default_rng(seed)
    x, found = _start(victim, rows, box, rng)
    left = np.nonzero(found)[0]
    arounds, toward = np.full(len(rows), around), np.full(len(rows), towards)
    tried, held, reached = (np.zeros(len(rows)) for _ in range(3))
    for step in range(1, steps + 1):
        away = distances(rows[left], x[left], "l2")
        left = left[(away > 0) & (toward[left] > 1e-7)]
        if not len(left):
            break
        sphere = _along(rows[left], x[left], arounds[left], box, rng)
        is_out = victim.is_fooled(victim.logits(sphere, left), left)
        tried[left] += 1
        held[left[is_out]] += 1
        out, sphere = left[is_out], sphere[is_out].astype(np.float64)
        if len(out):
            back = rows[out].astype(np.float64) - sphere
            nearer = box.project(rows[out], sphere + rowwise(toward[out], back) * back)
            is_out = victim.is_fooled(victim.logits(nearer, out), out)
            is_nearer = distances(rows[out], nearer, "l2") < distances(rows[out], x[out], "l2")
            taken = is_out & is_nearer
            x[out[taken]] = nearer[taken]
            reached[out[is_out]] += 1
        if step % _ADAPT_EVERY == 0:  # half of the steps along, a quarter of those back
            along = held / np.maximum(tried, 1)
            arounds = np.where(along > 0.5, arounds * _STEP_ADAPTATION, arounds)
            arounds = np.where(along < 0.2, arounds / _STEP_ADAPTATION, arounds)
            backward = reached / np.maximum(held, 1)
            known = held > 0
            toward = np.where(known & (backward > 0.25), toward * _STEP_ADAPTATION, toward)
            toward = np.where(known & (backward < 0.1), toward / _STEP_ADAPTATION, toward)
            arounds, toward = np.minimum(arounds, 1.0), np.minimum(toward, 0.9)
            tried, held, reached = (np.zeros(len(rows)) for _ in range(3))
    return x


def _start(victim: Victim, rows: Array, box: Box, rng: np.random.Generator) -> tuple[Array, Array]:
    """Random points that fool the model, moved towards the rows up to the border; and where."""
    low, high = box.require_range("boundary")
    x, found = rows.copy(), np.zeros(len(rows), bool)
    left = victim.all[~victim.is_fooled(victim.unmoved(rows), victim.all)]
    for _ in range(_FIRST_TRIES if len(left) else 0):
        noise = box.project(rows[left], rng.uniform(low, high, rows[left].shape))
        fooled = victim.is_fooled(victim.logits(noise, left), left)
        x[left[fooled]] = noise[fooled]
        found[left[fooled]] = True
        left = left[~fooled]
        if not len(left):
            break
    which = np.nonzero(found)[0]
    outside = x[which].astype(np.float64)
    inside = rows[which].astype(np.float64)
    for _ in range(_BISECTIONS if len(which) else 0):
        middle = box.project(rows[which], (inside + outside) / 2)
        fooled = victim.is_fooled(victim.logits(middle, which), which)
        picked = rowwise(fooled, middle)
        outside = np.where(picked, middle, outside)
        inside = np.where(picked, inside, middle)
        x[which[fooled]] = middle[fooled]
    return x, found


def _along(rows: Array, x: Array, size: Array, box: Box, rng: np.random.Generator) -> Array:
    """A random step on the sphere around each row through x."""
    source = x.astype(np.float64) - rows.astype(np.float64)
    radius = lengths(source, "l2")
    unit = source / rowwise(radius, source)
    noise = box.hold_slope(np.asarray(rng.standard_normal(rows.shape)))
    axes = tuple(range(1, rows.ndim))
    noise -= (noise * unit).sum(axis=axes, keepdims=True) * unit
    noise *= rowwise(size * radius / np.maximum(lengths(noise, "l2"), 1e-300), noise)
    moved = source + noise
    moved *= rowwise(radius / np.maximum(lengths(moved, "l2"), 1e-300), moved)
    return box.project(rows, rows.astype(np.float64) + moved)
