"""One execution of a training: all of it that changes from step to step."""

from __future__ import annotations

import copy
import math
import time
from typing import Any

import torch
from torch import Tensor, nn

from trainer.recipes.average import Average
from trainer.recipes.hyperparameters import SupervisedHyperparameters
from trainer.recipes.optimization import L1, create_optimizer
from trainer.recipes.schedule import create_schedule
from trainer.recipes.task import Carried
from wintergarden.errors import FailedPrecondition


class TrainingRun:
    """A training between two steps; `Checkpointable`.

    Its place is the number of whole epochs done and of batches done since. Orders and random
    numbers follow from the seed and the place (`randomness`), so no generator is among its state.

    Args:
        network: to be trained, where it is.
        hyperparameters: of the training.
        batches_per_epoch: that a pass over the training part is made of.
        parent: whose weights the network begins with, for good; empty: nobody's.

    Attributes:
        step: optimisation steps done.
        epoch: whole epochs done.
        batch: batches done of the epoch under way.
        rate: the learning rate of the last step.
        carried: what the network takes along to the next batch, by the rows of the last one.
        loss_sum: float64 on the network's device, of the epoch's examples so far; on this rank.
        history: a row for each whole epoch.
        average: of the network's weights over the steps.
        kept_epoch: whose weights are the best so far, or the last where all count alike.
    """

    def __init__(
        self,
        network: nn.Module,
        hyperparameters: SupervisedHyperparameters,
        batches_per_epoch: int,
        parent: str = "",
    ) -> None:
        self.network = network
        self._parent = parent
        self._hyperparameters = hyperparameters
        device = next(network.parameters()).device
        self.batches_per_epoch = batches_per_epoch
        self.optimizer = create_optimizer(network, hyperparameters)
        self.l1 = L1(self.optimizer, hyperparameters.l1)
        self.schedule = create_schedule(self.optimizer, hyperparameters, self.batches_per_epoch)
        self.scaler = torch.amp.GradScaler("cuda", enabled=hyperparameters.precision == "fp16")
        self.average = Average(network, hyperparameters.ema_decay)
        self.step = self.epoch = self.batch = self.kept_epoch = 0
        self.rate = 0.0
        self.carried: Carried = ()
        self.loss_sum = torch.zeros((), dtype=torch.float64, device=device)
        self.history: list[dict[str, float]] = []
        self._best_loss = math.inf
        self._kept_weights: dict[str, Any] | None = None
        self._seconds_before = 0.0
        self._resumed_at = time.perf_counter()

    @property
    def steps(self) -> int:
        """Optimisation steps in all, at most."""
        return self.batches_per_epoch * self._hyperparameters.epochs

    @property
    def is_over(self) -> bool:
        patience = self._hyperparameters.patience
        has_lost_patience = bool(patience) and self.epoch - self.kept_epoch >= patience
        return self.epoch >= self._hyperparameters.epochs or has_lost_patience

    @property
    def judged(self) -> nn.Module:
        """The network that counts: the average one where there is one."""
        return self.average.network or self.network

    @property
    def epoch_seconds(self) -> float:
        """Of the epoch under way, without the time between an interruption and its end."""
        return self._seconds_before + time.perf_counter() - self._resumed_at

    def end_step(self, loss_sum: Tensor) -> None:
        """A batch has been learnt; its loss is the sum over this rank's examples."""
        self.loss_sum += loss_sum
        self.rate = max(group["lr"] for group in self.optimizer.param_groups)
        self.average.follow(self.network, self.step)
        self.schedule.after_step()
        self.step += 1
        self.batch += 1

    def end_epoch(self, metrics: dict[str, float]) -> None:
        """All batches of an epoch have been learnt."""
        self.history.append(metrics)
        self.epoch += 1
        self.batch, self.carried = 0, ()
        self.loss_sum.zero_()
        self._seconds_before, self._resumed_at = 0.0, time.perf_counter()
        self.schedule.after_epoch(metrics["validation_loss"])
        # A schedule that comes to rest ends at weights better than any on the way: choosing
        # among epochs by few validation examples would only add their noise.
        if not self._hyperparameters.patience:
            self.kept_epoch = self.epoch
        elif metrics["validation_loss"] < self._best_loss:
            self._best_loss, self.kept_epoch = metrics["validation_loss"], self.epoch
            self._kept_weights = copy.deepcopy(self.judged.state_dict())

    def keep_best(self) -> None:
        """Gives the network the weights of `kept_epoch`."""
        self.network.load_state_dict(self._kept_weights or self.judged.state_dict())

    def state_dict(self) -> dict[str, Any]:
        return {
            "parent": self._parent,
            "step": self.step,
            "epoch": self.epoch,
            "batch": self.batch,
            "rate": self.rate,
            "carried": self.carried,
            "loss_sum": self.loss_sum,
            "epoch_seconds": self.epoch_seconds,
            "history": self.history,
            "best_loss": self._best_loss,
            "kept_epoch": self.kept_epoch,
            "kept_weights": self._kept_weights,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from there; `state` is left to the run.

        Raises:
            FailedPrecondition: it is no state of such a training. The run is of no use then.
        """
        try:
            self.network.load_state_dict(state["network"])
            self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.schedule.load_state_dict(state["schedule"])
            self.scaler.load_state_dict(state["scaler"])
            self.step, self.epoch, self.batch = state["step"], state["epoch"], state["batch"]
            self.rate = state["rate"]
            device = self.loss_sum.device
            self.carried = tuple(rows.to(device) for rows in state.get("carried", ()))
            self.loss_sum.copy_(state["loss_sum"])
            self.history = state["history"]
            self._best_loss, self.kept_epoch = state["best_loss"], state["kept_epoch"]
            self._kept_weights = state["kept_weights"]
            self._seconds_before = state["epoch_seconds"]
        except (KeyError, ValueError, TypeError, RuntimeError) as error:
            raise FailedPrecondition(
                f"the state does not fit this training: {type(error).__name__}: {error}"
            ) from error
        self._resumed_at = time.perf_counter()
