"""Which architectures there are. The registry is the test matrix: being in it is being tested."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, Protocol, TypeVar, cast

from torch import nn

from trainer.data.dataset import DatasetInfo, Task
from trainer.recipes.hyperparameters import Hyperparameters, SupervisedHyperparameters
from wintergarden.errors import InvalidArgument, NotFound

MODULES = (
    "trainer.zoo.alexnet",
    "trainer.zoo.bahdanau",
    "trainer.zoo.char_transformer",
    "trainer.zoo.convolution",
    "trainer.zoo.googlenet",
    "trainer.zoo.gru",
    "trainer.zoo.lenet5",
    "trainer.zoo.linear",
    "trainer.zoo.lstm",
    "trainer.zoo.mlp",
    "trainer.zoo.perceptron",
    "trainer.zoo.resnet",
    "trainer.zoo.rnn",
    "trainer.zoo.segnet",
    "trainer.zoo.show_attend_tell",
    "trainer.zoo.textcnn",
    "trainer.zoo.transformer",
    "trainer.zoo.vgg",
)

_REGISTERED: dict[str, Architecture] = {}


class Buildable(Protocol):
    """What a registered class must offer."""

    @classmethod
    def build(cls, hyperparameters: Any, dataset: DatasetInfo) -> nn.Module:
        """A new network for a data set, with random weights.

        Args:
            hyperparameters: of the class that was registered with it.
            dataset: whose examples and classes it is for.
        """


Network = TypeVar("Network", bound=type[nn.Module])


@dataclass(frozen=True)
class Architecture:
    """A network and what it takes.

    Attributes:
        name: as users write it.
        summary: one line.
        source: the paper, with section.
        tasks: that it solves.
        hyperparameters: its own and those of the recipe that trains it.
        network: the class.
        image_side: pixels that images are brought to, by repeating and padding; None leaves them.
        min_image_side: pixels that smaller images are brought to; larger ones are left.
        is_fixed: there is nothing to learn: the recipe has no part in it, nor its hyperparameters.
    """

    name: str
    summary: str
    source: str
    tasks: tuple[Task, ...]
    hyperparameters: type[SupervisedHyperparameters]
    network: type[Buildable]
    image_side: int | None = None
    min_image_side: int | None = None
    is_fixed: bool = False

    def side_for(self, dataset: DatasetInfo) -> int | None:
        """Pixels that a data set's images are brought to; None where they are left."""
        if self.image_side is not None:
            return self.image_side
        if self.min_image_side is not None and min(dataset.input_shape[1:]) < self.min_image_side:
            return self.min_image_side
        return None

    def refusal(self, dataset: DatasetInfo) -> str:
        """Why it cannot be trained on a data set; an empty string where it can."""
        if dataset.task not in self.tasks:
            return f"it is for {' and '.join(self.tasks)}, and this is {dataset.task}"
        if self.image_side is not None:
            height, width = dataset.input_shape[1:]
            if height != width or height > self.image_side:
                return (
                    f"its images must be square and at most {self.image_side} pixels wide, these "
                    f"are {width}x{height}"
                )
        if self.min_image_side is not None:
            height, width = dataset.input_shape[1:]
            if height != width and min(height, width) < self.min_image_side:
                return (
                    f"its images must be square or at least {self.min_image_side} pixels wide and "
                    f"high, these are {width}x{height}"
                )
        return ""


def register(
    name: str,
    *,
    summary: str,
    source: str,
    tasks: tuple[Task, ...],
    hyperparameters: type[Hyperparameters],
    image_side: int | None = None,
    min_image_side: int | None = None,
    is_fixed: bool = False,
) -> Callable[[Network], Network]:
    """Adds the decorated class to the architectures; `Architecture` says what the words mean.

    Raises:
        ValueError: the name is taken.
    """
    if name in _REGISTERED:
        raise ValueError(f"architecture {name!r} is registered twice")

    def add(network: Network) -> Network:
        _REGISTERED[name] = Architecture(
            name=name,
            summary=summary,
            source=source,
            tasks=tasks,
            # Only what is fixed has others than a recipe's, and no recipe sees them.
            hyperparameters=cast("type[SupervisedHyperparameters]", hyperparameters),
            network=cast("type[Buildable]", network),
            image_side=image_side,
            min_image_side=min_image_side,
            is_fixed=is_fixed,
        )
        return network

    return add


@cache
def architectures() -> dict[str, Architecture]:
    """Every architecture by name."""
    for module in MODULES:
        import_module(module)
    return dict(sorted(_REGISTERED.items()))


def find(name: str) -> Architecture:
    """The architecture of that name.

    Raises:
        NotFound: naming those there are.
    """
    try:
        return architectures()[name]
    except KeyError:
        raise NotFound(
            f"no architecture {name!r}; there are {', '.join(architectures())}"
        ) from None


def check_fits(architecture: Architecture, dataset: DatasetInfo) -> None:
    """Refuses a data set that the architecture cannot be trained on.

    Raises:
        InvalidArgument: saying why.
    """
    if reason := architecture.refusal(dataset):
        raise InvalidArgument(
            f"architecture {architecture.name!r} cannot be trained on {dataset.name!r}: {reason}",
            field="dataset",
        )
