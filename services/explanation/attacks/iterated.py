"""Many small steps instead of one: I-FGSM, MI-FGSM and PGD are settings of the same climb.

- I-FGSM: Kurakin, Goodfellow, Bengio, "Adversarial examples in the physical world", 2016, §2.2.
  https://arxiv.org/abs/1607.02533
- MI-FGSM: Dong et al., "Boosting Adversarial Attacks with Momentum", 2018, algorithm 1.
  https://arxiv.org/abs/1710.06081
- PGD: Madry et al., "Towards Deep Learning Models Resistant to Adversarial Attacks", 2018, §2.1.
  https://arxiv.org/abs/1706.06083

Departure from the papers: a row is done as soon as it fools the model, which costs fewer queries
and can only succeed more often; a row that never does ends where it was closest to it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from services.explanation.arrays import Array
from services.explanation.attacks.ball import Ball
from services.explanation.attacks.norms import lengths, rowwise
from services.explanation.attacks.victim import Victim
from wintergarden.errors import InvalidArgument

MAX_STEPS = 10_000


@dataclass(frozen=True)
class Climb:
    """How it is climbed.

    Attributes:
        steps: Of each start.
        step_size: In radii.
        decay: Of the momentum; None: each step follows the slope where it stands.
        starts: The first is at the row itself, or at random; all others are at random.
        starts_at_random: Whether the first is too.
        seed: Of the random starts.
    """

    steps: int
    step_size: float
    decay: float | None = None
    starts: int = 1
    starts_at_random: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what means nothing.

        Raises:
            InvalidArgument: naming the field, what was got and what is allowed.
        """
        for name, count in (("steps", self.steps), ("starts", self.starts)):
            if not 1 <= count <= MAX_STEPS:
                raise InvalidArgument(f"{name}={count}: 1 to {MAX_STEPS}", name)
        if not 0 < self.step_size < np.inf:
            raise InvalidArgument(
                f"step_size={self.step_size}: a finite number above 0, in radii", "step_size"
            )


def climb(victim: Victim, rows: Array, ball: Ball, how: Climb) -> Array:
    """Rows [N, …] moved within their balls, of their type."""
    rng = np.random.default_rng(how.seed)
    best = rows.copy()
    highest = np.full(len(rows), -np.inf)
    left = victim.all  # who is not fooled yet
    for start in range(how.starts):
        at_random = start > 0 or how.starts_at_random
        x = ball.sample(rows, rng) if at_random else rows.copy()
        velocity = np.zeros(rows.shape) if how.decay is not None else None
        for step in range(how.steps + 1):
            if not len(left):
                return best
            logits = victim.logits(x[left], left)
            heights = victim.heights(logits, left)
            fooled = victim.is_fooled(logits, left)
            heights[fooled] = np.inf
            higher = left[heights > highest[left]]
            best[higher] = x[higher]
            highest[left] = np.maximum(highest[left], heights)
            left, logits = left[~fooled], logits[~fooled]
            if step == how.steps or not len(left):
                break
            slope = victim.climb(x[left], logits, left)
            if velocity is not None and how.decay is not None:
                slope /= rowwise(np.maximum(lengths(slope, "l1"), 1e-300), slope)
                slope = velocity[left] = how.decay * velocity[left] + slope
            moved = x[left] + how.step_size * ball.epsilon * ball.steepest(slope)
            x[left] = ball.project(rows[left], moved)
    return best
