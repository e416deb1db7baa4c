"""The first attack there was: box-constrained L-BFGS.

Szegedy et al., "Intriguing properties of neural networks", 2013, §4.1.
https://arxiv.org/abs/1312.6199

minimise c·‖r‖² + cross-entropy(x + r, t) subject to x + r within the valid range, by SciPy's
L-BFGS-B (Byrd, Lu, Nocedal, Zhu, 1995); c is the largest that still succeeds, found by bisection.
Departure from the paper: untargeted, t is the likeliest other class.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from services.explanation.arrays import Array
from services.explanation.attacks.box import Box
from services.explanation.attacks.norms import distances
from services.explanation.attacks.victim import Victim, one_hot

_SMALLEST, _LARGEST = 1e-6, 1e6


def lbfgs(victim: Victim, rows: Array, box: Box, *, searches: int = 12, steps: int = 100) -> Array:
    """Rows moved as little as could be found; one that could not be fooled is left as it was.

    Args:
        victim: The model and what is wanted of it.
        rows: [N, …] within the box.
        box: Where they may go; it must have a finite range.
        searches: Constants tried.
        steps: Of L-BFGS-B, for each constant.
    """
    box.require_range("lbfgs")
    logits = victim.unmoved(rows)
    is_done = victim.is_fooled(logits, victim.all)
    others = logits.astype(np.float64)
    others[victim.all, victim.classes] = -np.inf
    wanted = victim.classes if victim.is_targeted else others.argmax(axis=1)
    found = [
        row if done else _Row(victim, row, index, int(target)).nearest(box, searches, steps)
        for index, (row, target, done) in enumerate(zip(rows, wanted, is_done, strict=True))
    ]
    return np.stack(found) if found else rows.copy()


@dataclass(frozen=True, eq=False)
class _Row:
    """One row on its way to one class."""

    victim: Victim
    row: Array
    index: int
    target: int

    def nearest(self, box: Box, searches: int, steps: int) -> Array:
        """The nearest success: bisection on the logarithm of c."""
        # As long to import as all else that explains, and no other attack needs it.
        from scipy.optimize import Bounds, minimize

        row, centre = self.row, self._centre()
        bounds = Bounds(*self._bounds(box))
        best, shortest = row, np.inf
        weak, strong = np.log(_SMALLEST), np.log(_LARGEST)
        constant = 0.0
        for _ in range(searches):
            result = minimize(
                self._cost,
                centre,
                args=(float(np.exp(constant)),),
                jac=True,
                method="L-BFGS-B",
                bounds=bounds,
                options={"maxiter": steps},
            )
            x = box.project(row[None], result.x.reshape(1, *row.shape))
            if self._is_fooled(x):
                weak = constant  # so much weight on being near is not too much
                away = float(distances(row[None], x, "l2")[0])
                if away < shortest:
                    best, shortest = x[0], away
            else:
                strong = constant
            constant = (weak + strong) / 2
        return best

    def _cost(self, flat: Array, constant: float) -> tuple[float, Array]:
        """What is minimised at x + r, float64 [elements], and its slope."""
        x = flat.reshape(1, *self.row.shape).astype(self.row.dtype)
        logits = self.victim.logits(x, self._which())
        wide = logits.astype(np.float64)
        powers = np.exp(wide - wide.max())
        loss = float(np.log(powers.sum()) + wide.max() - wide[0, self.target])
        wanted = one_hot(np.array([self.target]), wide.shape[1], wide.dtype)
        weights = (powers / powers.sum() - wanted).astype(logits.dtype)
        slope = self.victim.slope(x, weights, self._which()).ravel()
        away = flat - self._centre()
        return constant * float(away @ away) + loss, 2 * constant * away + slope

    def _is_fooled(self, x: Array) -> bool:
        logits = self.victim.logits(x, self._which())
        return bool(self.victim.is_fooled(logits, self._which())[0])

    def _bounds(self, box: Box) -> tuple[Array, Array]:
        """The least and the most of each element, float64 [elements]."""
        centre = self._centre()
        low, high = box.range_in(self.row.dtype)
        least, most = np.full(centre.shape, low), np.full(centre.shape, high)
        if box.changeable is not None:
            held = ~box.changeable.ravel()
            least[held] = most[held] = centre[held]
        return least, most

    def _centre(self) -> Array:
        flat: Array = self.row.astype(np.float64).ravel()
        return flat

    def _which(self) -> Array:
        return np.array([self.index])
