"""Adversarial training: a network learns from examples that have been moved against it.

Madry et al., "Towards Deep Learning Models Resistant to Adversarial Attacks", 2018, §2.1.
https://arxiv.org/abs/1706.06083. One step from a random point is "fast" adversarial training:
Wong, Rice, Kolter, "Fast is better than free", 2020, §4. https://arxiv.org/abs/2001.03994
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

_FAST_STEP = 1.25  # of the radius, where there is one step (Wong et al., §4.1)
_FAR = 2.5  # the length of all steps together, in radii (Madry et al.)


@dataclass(frozen=True)
class Adversary:
    """Moves inputs within an L∞ ball to where the loss is high.

    Attributes:
        epsilon: radius, in the inputs' own units.
        steps: of projected gradient ascent.
        value_range: lowest and highest valid value, or None.
    """

    epsilon: float
    steps: int
    value_range: tuple[float, float] | None

    def starts(self, count: int, shape: tuple[int, ...], generator: Generator) -> Tensor:
        """Where the ascent begins, (count, …): uniform in the ball. Drawn for a whole batch, so
        that an example's does not depend on how the batch is shared out.
        """
        drawn = torch.rand((count, *shape), generator=generator)
        return (2 * drawn - 1) * self.epsilon

    def move(
        self,
        network: nn.Module,
        loss: Callable[[Tensor], Tensor],
        inputs: Tensor,
        starts: Tensor,
    ) -> Tensor:
        """Inputs (N, …) moved, of their type; detached.

        The network is looked at as it would be served: dropout is off and no running statistic
        changes. Gradients of weights are left alone.

        Args:
            network: put into eval mode and back.
            loss: of moved inputs, summed over them.
            inputs: within the valid range.
            starts: as `starts` draws them.
        """
        size = _FAST_STEP if self.steps == 1 else _FAR / self.steps
        # Each by itself: parts that are frozen do not train while the rest does.
        modes = [(module, module.training) for module in network.modules()]
        network.eval()
        try:
            moved = self._inside(inputs, inputs + starts)
            for _ in range(self.steps):
                leaf = moved.detach().requires_grad_()
                (slope,) = torch.autograd.grad(loss(leaf), leaf)
                moved = self._inside(inputs, leaf.detach() + size * self.epsilon * slope.sign())
        finally:
            for module, is_training in modes:
                module.training = is_training
        return moved.detach()

    def _inside(self, inputs: Tensor, moved: Tensor) -> Tensor:
        moved = inputs + (moved - inputs).clamp(-self.epsilon, self.epsilon)
        return moved if self.value_range is None else moved.clamp(*self.value_range)
