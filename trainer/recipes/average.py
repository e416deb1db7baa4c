"""The moving average of a network's weights, which is often better than the last ones.

Polyak, Juditsky, "Acceleration of stochastic approximation by averaging", SIAM J. Control Optim.
30(4), 1992; as an exponential average e.g. Szegedy et al. 2016, arXiv:1512.00567, §8.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn


class Average:
    """θ̄ ← d·θ̄ + (1 - d)·θ after each step; d is at most `decay` and (1 + step) / (10 + step).

    Without the second limit the average of a short training would still be full of its first,
    random weights. Statistics of batch normalisation are averaged as weights are; counters are
    copied.

    Args:
        network: to be trained; the average begins as a copy of it.
        decay: 0 keeps no average.

    Attributes:
        network: with the average weights; None where none are kept.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self._decay = decay
        self.network = copy.deepcopy(network).requires_grad_(False) if decay else None

    @torch.no_grad()
    def follow(self, network: nn.Module, step: int) -> None:
        """A step has been made: the so-maniest, counted from 0."""
        if self.network is None:
            return
        decay = min(self._decay, (1 + step) / (10 + step))
        newest = network.state_dict()
        for name, kept in self.network.state_dict().items():
            if kept.is_floating_point():
                kept.lerp_(newest[name], 1 - decay)
            else:
                kept.copy_(newest[name])

    def state_dict(self) -> dict[str, Any] | None:
        return None if self.network is None else self.network.state_dict()

    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        """Goes on from there."""
        if self.network is not None:
            self.network.load_state_dict(state or {})
