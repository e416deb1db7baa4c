"""The processes that train one network together, as a recipe sees them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch import Tensor, nn


class Ranks:
    """A training in one process. `trainer.distributed` has several.

    Every rank calls the same methods in the same order.

    Attributes:
        rank: of this process; rank 0 alone reports, takes checkpoints and exports.
        count: of processes.
    """

    rank = 0
    count = 1

    def any(self, flag: bool) -> bool:
        """Whether it is true on any rank; the same answer on all."""
        return flag

    def sum(self, values: Tensor) -> Tensor:
        """The sum over the ranks; the same bits on all."""
        return values

    def share(self, state: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        """Rank 0's state, on all."""
        return state

    def replicate(self, network: nn.Module) -> nn.Module:
        """The network as it is to be called.

        After each backward pass outside `local`, gradients are the mean over the ranks.
        """
        return network

    def local(self, replica: nn.Module) -> AbstractContextManager[Any]:
        """While gradients only add up on each rank."""
        del replica
        return nullcontext()


ALONE = Ranks()
