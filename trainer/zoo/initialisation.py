"""Weights before training."""

from __future__ import annotations

from torch import nn


def initialise_for_relu(network: nn.Module) -> None:
    """Draws weights so that ReLU keeps the variance of what goes through; biases become 0.

    He, Zhang, Ren, Sun, "Delving deep into rectifiers", ICCV 2015, eq. 10. arXiv:1502.01852
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
