"""Which architectures there are. The registry is the test matrix: being in it is being tested."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any

from pydantic import BaseModel, ConfigDict
from torch import nn

from trainer.data.dataset import DatasetInfo
from wintergarden.errors import InvalidArgument, NotFound

MODULES = ("trainer.zoo.lenet5", "trainer.zoo.mlp")

_REGISTERED: dict[str, Architecture] = {}


class Hyperparameters(BaseModel):
    """What a user may choose about an architecture; field descriptions are shown to them."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


@dataclass(frozen=True)
class Architecture:
    """A network and what it takes.

    Attributes:
        name: as users write it.
        summary: one line.
        source: the paper, with section.
        task: that it solves.
        hyperparameters: its own ones; those of the recipe come on top.
        recipe_defaults: where the recipe's defaults do not suit it.
        refusal: why it cannot be trained on a data set, or an empty string.
        build: hyperparameters and data set → the network, for input as the recipe prepares it.
        image_side: pixels that images are brought to, by padding or repeating; None leaves them.
    """

    name: str
    summary: str
    source: str
    task: str
    hyperparameters: type[Hyperparameters]
    recipe_defaults: dict[str, object]
    refusal: Callable[[DatasetInfo], str]
    build: Callable[[Any, DatasetInfo], nn.Module]
    image_side: int | None = None


def register(architecture: Architecture) -> None:
    """Adds an architecture.

    Raises:
        ValueError: the name is taken.
    """
    if architecture.name in _REGISTERED:
        raise ValueError(f"architecture {architecture.name!r} is registered twice")
    _REGISTERED[architecture.name] = architecture


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
