"""From gradients to new weights: the optimizer, and penalties on weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer

from trainer.recipes.hyperparameters import SupervisedHyperparameters
from trainer.recipes.transfer import rate_scales


def create_optimizer(network: nn.Module, hyperparameters: SupervisedHyperparameters) -> Optimizer:
    """The optimizer; its weight decay is the gradient of the L2 term of the loss.

    Each group's `scale` is what its learning rate is of the schedule's.
    """
    scales = rate_scales(network, hyperparameters.rate_decay)
    groups: list[dict[str, Any]] = []
    for scale in sorted(set(scales.values()), reverse=True):
        members = [p for name, p in network.named_parameters() if scales[name] == scale]
        for is_penalised in (True, False):
            groups.append(
                {
                    "params": [p for p in members if (p.ndim > 1) == is_penalised],
                    "weight_decay": hyperparameters.l2 if is_penalised else 0.0,
                    "is_penalised": is_penalised,
                    "scale": scale,
                }
            )
    rate = hyperparameters.learning_rate
    if hyperparameters.optimizer == "sgd":
        momentum = hyperparameters.momentum
        return SGD(groups, lr=rate, momentum=momentum, nesterov=momentum > 0)
    return Adam(groups, lr=rate)


class L1:
    """The term λ·Σ|w| of the loss, as proximal steps: weights become 0 and not merely small.

    After the optimizer's step each weight moves towards 0 by λ times the step that its own
    gradient of 1 would have made, and stops there. So a weight rests at 0 where the averaged
    gradient is smaller than λ, which is the optimum's condition, for either optimizer. A gradient
    of |w| added to the loss would make weights jump to and fro over 0 for ever.

    Yun, Lozano, Yang, "Adaptive proximal gradient methods for structured neural networks",
    NeurIPS 2021, §3.
    """

    def __init__(self, optimizer: Optimizer, strength: float) -> None:
        self._optimizer = optimizer
        self._strength = strength

    @torch.no_grad()
    def step(self) -> None:
        if not self._strength:
            return
        for group in self._optimizer.param_groups:
            for weight in group["params"] if group["is_penalised"] else ():
                if weight.grad is None:  # frozen
                    continue
                if isinstance(self._optimizer, Adam) and weight not in self._optimizer.state:
                    continue  # fp16's first steps may be skipped, and leave nothing to go by
                limit = self._strength * self._unit_step(weight, group)
                weight.sub_(weight.clamp(-limit, limit))

    def _unit_step(self, weight: Tensor, group: dict[str, Any]) -> Tensor | float:
        """How far a lasting gradient of 1 would move a weight."""
        rate: float = group["lr"]
        if isinstance(self._optimizer, SGD):
            return rate / (1 - float(group["momentum"]))
        state = self._optimizer.state[weight]
        correction = 1 - group["betas"][1] ** state["step"]
        step: Tensor = rate / ((state["exp_avg_sq"] / correction).sqrt() + group["eps"])
        return step
