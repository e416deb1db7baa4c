"""What is learnt: how an answer is judged, and how it is served. Knows no loop and no network.

The data set says which task it is; `trainer.recipes.tasks` makes it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

from torch import Tensor, nn

from trainer.data.dataset import Array, DatasetInfo
from wintergarden.store import TensorInfo


class Task(nn.Module, ABC):
    """One kind of learning on one data set.

    A module, because losses and answers need tensors that belong where the network is; it is
    called with what the network answers, and gives what is served.

    Shape:
        input:  the network's answer.
        output: a tensor for each of `outputs`.

    Attributes:
        outputs: names of the served tensors; what the first says decides.
        score: the metric that says how good a network is; more is better.
    """

    outputs: tuple[str, ...]
    score: str

    @abstractmethod
    def targets(self, labels: Array) -> Tensor:
        """What answers are held to, one for each example, from a part's labels; on the CPU."""

    @abstractmethod
    def loss(self, answers: Tensor, targets: Tensor) -> Tensor:
        """The loss summed over the examples."""

    @abstractmethod
    def tally(self, answers: Tensor, targets: Tensor) -> Tensor:
        """Float64 sums over the examples, from which `metrics` follow; those of parts add up."""

    @abstractmethod
    def metrics(self, tally: Tensor, examples: int) -> dict[str, float]:
        """`loss`, `score` and what else is measured, from the sums over so many examples."""

    @abstractmethod
    def describe(self, info: DatasetInfo) -> tuple[TensorInfo, ...]:
        """The served tensors, for the manifest."""

    @abstractmethod
    def served_tally(self, answers: Mapping[str, Array], labels: Array) -> Tensor:
        """The sums of `tally`, from what the served graph answered."""

    def warped(self, targets: Tensor, maps: Tensor) -> Tensor:
        """Targets of images that were warped by maps (N, 2, 3)."""
        del maps
        return targets
