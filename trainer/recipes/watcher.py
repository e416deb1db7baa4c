"""Who follows a training, whatever is trained. Knows no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from wintergarden.worker.control import Stopped

__all__ = ["Checkpointable", "Stopped", "Watcher"]


class Checkpointable(Protocol):
    """A training between two steps."""

    @property
    def step(self) -> int:
        """Optimisation steps done."""

    def state_dict(self) -> dict[str, Any]:
        """All that going on from here needs: tensors, numbers, texts, lists, dictionaries.

        Its tensors are the training's own, which the next step changes.
        """


@dataclass(frozen=True)
class Watcher:
    """What a recipe calls on its way.

    Attributes:
        on_step: after each optimisation step, with steps done and steps in all; `Stopped`, raised
            here, ends the training after a last call of `on_checkpoint`.
        on_epoch: after each epoch, with the steps done and its metrics.
        on_checkpoint: after each step and each epoch, with the training as it is and whether it
            stops here; called so often, it decides itself when it is time to write one.
        on_log: what a user should read, with its level: info or warning.
    """

    on_step: Callable[[int, int], None] = lambda step, steps: None
    on_epoch: Callable[[int, Mapping[str, float]], None] = lambda step, metrics: None
    on_checkpoint: Callable[[Checkpointable, bool], None] = lambda training, is_last: None
    on_log: Callable[[str, str], None] = lambda level, text: None
