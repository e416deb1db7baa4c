"""From gradients to new weights: the optimizer, and penalties on weights."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer

from trainer.recipes.hyperparameters import ClassificationHyperparameters

MOMENTUM = 0.9


def penalised(network: nn.Module) -> list[nn.Parameter]:
    """Weight matrices and kernels; shrinking biases and scales would regularise nothing."""
    return [parameter for parameter in network.parameters() if parameter.ndim > 1]


def create_optimizer(
    network: nn.Module, hyperparameters: ClassificationHyperparameters
) -> Optimizer:
    """The optimizer; its weight decay is the gradient of the L2 term of the loss."""
    groups = [
        {"params": penalised(network), "weight_decay": hyperparameters.l2},
        {"params": [p for p in network.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    rate = hyperparameters.learning_rate
    if hyperparameters.optimizer == "sgd":
        return SGD(groups, lr=rate, momentum=MOMENTUM, nesterov=True)
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
        weights = self._optimizer.param_groups[0]  # the second group holds the biases
        for weight in weights["params"]:
            if weight not in self._optimizer.state:  # fp16's first steps may be skipped
                continue
            limit = self._strength * self._unit_step(weight, weights)
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
