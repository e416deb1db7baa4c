"""What is learnt: how an answer is judged, and how it is served. Knows no loop and no network.

The data set says which task it is; `trainer.recipes.tasks` makes it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from trainer.data.dataset import Array, DatasetInfo
from wintergarden.store import TensorInfo

LOGITS, PROBABILITIES = "logits", "probabilities"
"""Names of what classifiers serve."""

Carried = tuple[Tensor, ...]
"""What a network takes along from a batch to the next, (N, …) each: a row for each of the batch."""


@dataclass(frozen=True)
class Answer:
    """What a network answered to a batch.

    Attributes:
        main: what is judged, and served.
        auxiliary: of heads that help learning alone; each is judged as `main` is.
        penalty: a term of the loss, summed over the examples; None: there is none.
        carried: over to the next batch, without gradients.
    """

    main: Tensor
    auxiliary: tuple[Tensor, ...] = ()
    penalty: Tensor | None = None
    carried: Carried = ()


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
        target_padding: what fills targets of different lengths up; None: they have none.
        carries: whether batches go on where those before them ended.
    """

    outputs: tuple[str, ...]
    score: str
    target_padding: int | None = None
    carries: bool = False

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

    def ask(
        self, network: Callable[..., Any], inputs: Tensor, targets: Tensor, carried: Carried
    ) -> Answer:
        """Lets a network answer; here it sees the inputs alone and takes nothing along.

        Args:
            network: several answers of it are its own and its auxiliary heads'.
            inputs: (N, …), of a batch.
            targets: (N, …), which a network that is taught by forcing sees, too.
            carried: from the batch before; empty at the begin of a pass.
        """
        del targets, carried
        answers = network(inputs)
        main, *auxiliary = answers if isinstance(answers, tuple) else (answers,)
        return Answer(main, tuple(auxiliary))

    def warped(self, targets: Tensor, maps: Tensor) -> Tensor:
        """Targets of images that were warped by maps (N, 2, 3)."""
        del maps
        return targets
