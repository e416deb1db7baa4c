"""Which data sets there are, and how each is loaded."""

from __future__ import annotations

from collections.abc import Callable

from trainer.data import digits
from trainer.data.dataset import Array, Dataset, DatasetInfo, stratified
from trainer.data.tables import BREAST_CANCER, WINE, load_breast_cancer, load_wine
from wintergarden.errors import NotFound

Load = Callable[[], tuple[Array, Array]]

_SETS: dict[str, tuple[DatasetInfo, Load]] = {
    info.name: (info, load)
    for info, load in (
        (BREAST_CANCER, load_breast_cancer),
        (digits.DIGITS, digits.load_digits),
        (digits.MNIST_5K, digits.load_mnist_5k),
        (WINE, load_wine),
    )
}


def datasets() -> dict[str, DatasetInfo]:
    """Every data set by name."""
    return {name: info for name, (info, _) in _SETS.items()}


def describe(name: str) -> DatasetInfo:
    """The data set of that name, without loading it.

    Raises:
        NotFound: naming those there are.
    """
    if name not in _SETS:
        raise NotFound(f"no data set {name!r}; there are {', '.join(_SETS)}")
    return _SETS[name][0]


def load(name: str) -> Dataset:
    """The data set of that name.

    Raises:
        NotFound: naming those there are.
    """
    info = describe(name)
    return stratified(info, *_SETS[name][1]())
