"""HotFlip: another token, or another column of a group, where the slope says it helps most.

Ebrahimi, Rao, Lowd, Dou, "HotFlip: white-box adversarial examples for text classification", ACL
2018, §3. https://arxiv.org/abs/1712.06751

Departures from the paper: what the slope calls the best few flips is run, and the best of them is
made if it climbs, in place of a beam of texts; a place is flipped once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
    taken = [np.zeros(choices.places(row), bool) for row in rows]
    for _ in range(flips):
        if not len(left):
            break
        logits = victim.logits(moved[left], left)
        holding = ~victim.is_fooled(logits, left)
        left, logits = left[holding], logits[holding]
        if not len(left):
            break
        slopes = victim.climb(moved[left], logits, left)
        tries = [
            _Try(row, place, choices.flipped(moved[row], place, to))
            for row, slope in zip(map(int, left), slopes, strict=True)
            for place, to in choices.best(moved[row], slope, taken[row], candidates)
        ]
        before = dict(zip(map(int, left), victim.heights(logits, left), strict=True))
        chosen = _highest(victim, tries, before)
        for attempt in chosen:
            moved[attempt.row] = attempt.flipped
            taken[attempt.row][attempt.place] = True
        left = np.array(sorted(attempt.row for attempt in chosen), np.int64)
    return moved


@dataclass(frozen=True, eq=False)
class _Try:
    """A row with one place flipped."""

    row: int
    place: int
    flipped: Array


def _highest(victim: Victim, tries: Sequence[_Try], before: Mapping[int, float]) -> list[_Try]:
    """Of each row the one that climbs most, if any does."""
    if not tries:
        return []
    owners = np.array([attempt.row for attempt in tries])
    logits = victim.logits(np.stack([attempt.flipped for attempt in tries]), owners)
    best: dict[int, int] = {}
    heights = victim.heights(logits, owners)
    for index in np.argsort(-heights, kind="stable"):
        if heights[index] > before[int(owners[index])]:
            best.setdefault(int(owners[index]), int(index))
    return [tries[index] for index in best.values()]
