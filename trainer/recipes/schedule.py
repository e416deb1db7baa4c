"""How the learning rate runs."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import OneCycleLR

from trainer.recipes.hyperparameters import SupervisedHyperparameters

_NOT_BETTER = 1e-4  # of the loss: smaller improvements are none, as in torch's ReduceLROnPlateau


class Schedule:
    """Sets the learning rate before the first step, after each step and after each epoch."""

    def after_step(self) -> None:
        """To be called after each optimisation step."""

    def after_epoch(self, validation_loss: float) -> None:
        """To be called after each epoch."""

    def state_dict(self) -> dict[str, Any]:
        """What changes on the way, but for the rates themselves, which the optimizer has."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from there."""


class OneCycle(Schedule):
    """Up and down, and momentum down and up. Smith, Topin 2018, arXiv:1708.07120."""

    def __init__(self, optimizer: Optimizer, peak: float, steps: int) -> None:
        peaks = [peak * group.get("scale", 1.0) for group in optimizer.param_groups]
        self._scheduler = OneCycleLR(optimizer, max_lr=peaks, total_steps=steps)

    def after_step(self) -> None:
        self._scheduler.step()

    def state_dict(self) -> dict[str, Any]:
        return self._scheduler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._scheduler.load_state_dict(state)


class Curve(Schedule):
    """The peak times a function of the steps done; the whole state is their number."""

    def __init__(self, optimizer: Optimizer, peak: float, factor: Callable[[int], float]) -> None:
        self._optimizer = optimizer
        self._peak = peak
        self._factor = factor
        self._step = 0
        self._apply()

    def after_step(self) -> None:
        self._step += 1
        self._apply()

    def state_dict(self) -> dict[str, Any]:
        return {"step": self._step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._step = state["step"]
        self._apply()

    def _apply(self) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = self._peak * self._factor(self._step) * group.get("scale", 1.0)


class Plateau(Curve):
    """Lower, for good, each time that the validation loss has not become better for a while."""

    def __init__(
        self,
        optimizer: Optimizer,
        peak: float,
        factor: Callable[[int], float],
        decay_epochs: int,
        decay_factor: float,
    ) -> None:
        self._decay_epochs, self._decay_factor = decay_epochs, decay_factor
        self._best_loss, self._epochs_without, self._reduction = math.inf, 0, 1.0
        super().__init__(optimizer, peak, lambda step: self._reduction * factor(step))

    def after_epoch(self, validation_loss: float) -> None:
        self._epochs_without += 1
        if validation_loss < self._best_loss * (1 - _NOT_BETTER):
            self._best_loss, self._epochs_without = validation_loss, 0
        elif self._epochs_without >= self._decay_epochs:
            self._reduction *= self._decay_factor
            self._epochs_without = 0
            self._apply()

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {
            "best_loss": self._best_loss,
            "epochs_without": self._epochs_without,
            "reduction": self._reduction,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._best_loss = state["best_loss"]
        self._epochs_without = state["epochs_without"]
        self._reduction = state["reduction"]
        super().load_state_dict(state)


def create_schedule(
    optimizer: Optimizer, hyperparameters: SupervisedHyperparameters, steps_per_epoch: int
) -> Schedule:
    """The schedule over all epochs; it sets the optimizer's first rate at once."""
    peak, steps = hyperparameters.learning_rate, steps_per_epoch * hyperparameters.epochs
    decay, every = hyperparameters.decay_factor, hyperparameters.decay_epochs
    warmup = round(hyperparameters.warmup * steps)

    def rise(step: int) -> float:
        """Goyal et al. 2017, arXiv:1706.02677, §2.2: linear, and at its end the whole rate."""
        return min(1.0, (step + 1) / (warmup + 1))

    def fall(step: int) -> float:
        """Loshchilov, Hutter 2017, arXiv:1608.03983, eq. 5, without restarts."""
        done = max(0, step - warmup) / max(1, steps - warmup)
        return (1 + math.cos(math.pi * min(1.0, done))) / 2

    match hyperparameters.schedule:
        case "one_cycle":
            return OneCycle(optimizer, peak, steps)
        case "cosine":
            return Curve(optimizer, peak, lambda step: rise(step) * fall(step))
        case "step":
            return Curve(
                optimizer,
                peak,
                lambda step: rise(step) * decay ** (step // steps_per_epoch // every),
            )
        case "plateau":
            return Plateau(optimizer, peak, rise, every, decay)
        case "constant":
            return Curve(optimizer, peak, rise)
