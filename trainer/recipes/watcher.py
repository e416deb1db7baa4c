"""Who follows a training, whatever is trained. Knows no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass


class Stopped(Exception):
    """Training was asked to stop, at a step's end."""


@dataclass(frozen=True)
class Watcher:
    """What a recipe calls on its way.

    Attributes:
        on_step: after each optimisation step, with steps done and steps in all; what it raises
            ends the training.
        on_epoch: after each epoch, with the steps done and its metrics.
    """

    on_step: Callable[[int, int], None] = lambda step, steps: None
    on_epoch: Callable[[int, Mapping[str, float]], None] = lambda step, metrics: None
