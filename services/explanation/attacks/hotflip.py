"""HotFlip: another token, or another column of a group, where the slope says it helps most.

Ebrahimi, Rao, Lowd, Dou, "HotFlip: white-box adversarial examples for text classification", ACL
2018, §3. https://arxiv.org/abs/1712.06751

Departures from the paper: what the slope calls the best few flips is run, and the best of them is
made if it climbs, in place of a beam of texts; a place is flipped once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from services.explanation.arrays import Array
from services.explanation.attacks.choices import Choices
from services.explanation.attacks.victim import Victim


def hotflip(
    victim: Victim, rows: Array, choices: Choices, *, flips: int, candidates: int = 10
) -> Array:
    """Rows flipped until they fool, one place after the other; one that holds out has had all.

    Args:
        victim: The model and what is wanted of it.
        rows: [N, …].
        choices: What may be flipped, to what.
        flips: At most, of a row.
        candidates: Flips that are run, of each row and step.
    """
    moved, left = rows.copy(), victim.all
    logits = victim.unmoved(rows).copy()
    taken = [np.zeros(choices.places(row), bool) for row in rows]
    for _ in range(flips):
        left = left[~victim.is_fooled(logits[left], left)]
        if not len(left):
            break
        slopes = victim.climb(moved[left], logits[left], left)
        tries = [
            _Try(row, place, choices.flipped(moved[row], place, to))
            for row, slope in zip(map(int, left), slopes, strict=True)
            for place, to in choices.best(moved[row], slope, taken[row], candidates)
        ]
        if not tries:
            break
        owners = np.array([attempt.row for attempt in tries])
        found = victim.logits(np.stack([attempt.flipped for attempt in tries]), owners)
        gains = victim.heights(found, owners) - victim.heights(logits, victim.all)[owners]
        chosen = _best(owners, gains)
        for index in chosen:
            attempt = tries[index]
            moved[attempt.row], logits[attempt.row] = attempt.flipped, found[index]
            taken[attempt.row][attempt.place] = True
        left = np.sort(owners[chosen])
    return moved


@dataclass(frozen=True, eq=False)
class _Try:
    """A row with one place flipped."""

    row: int
    place: int
    flipped: Array


def _best(owners: Array, gains: Array) -> list[int]:
    """Of each owner's tries the one that gains most, the first of equal ones; none that loses."""
    best: dict[int, int] = {}
    for index in np.argsort(-gains, kind="stable"):
        if gains[index] > 0:
            best.setdefault(int(owners[index]), int(index))
    return list(best.values())
