"""What a reader finds in a file: examples, not yet in parts and not yet complete."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from trainer.data.dataset import Array
from trainer.preparation.limits import MAX_CLASSES, MAX_NAME_CHARACTERS
from wintergarden.errors import InvalidArgument
from wintergarden.store.dataset_manifest import Task

TRAIN, VALIDATION, TEST = 0, 1, 2
MAX_MASK_CLASSES = 256
_WRITING = ("sequence-to-sequence", "captioning", "language-modelling")

Tick = Callable[[float], None]
"""Told how much of the file has been read, 0 to 1; what it raises ends the reading."""


@dataclass(frozen=True)
class Examples:
    """Examples in the file's order.

    Attributes:
        task: that they are for.
        inputs: (N, F) float64 where NaN is a value that is missing, (N, C, H, W) uint8 or float32,
            or (N,) objects of `str`.
        labels: (N,) indices into `class_labels`, int64; of a regression, values (N, K) float32; of
            a segmentation, (N, H, W) uint8; of texts to be written, objects of `str`, or zeros (N,)
            where the inputs themselves are.
        class_labels: sorted; those of numbers as numbers. Of a regression, the values' names.
        input_name: of the served graph's input.
        units: of the values.
        value_range: lowest and highest value there can be; of what a model sees, so 0 to 1 for
            bytes.
        feature_names: of the columns of a table.
        parts: (N,) of TRAIN, VALIDATION and TEST where the file says so; None: they are made.
        details: what else the report says, by format.
        warnings: for the report.
    """

    task: Task
    inputs: Array
    labels: Array
    class_labels: tuple[str, ...]
    input_name: str
    units: str
    value_range: tuple[float, float] | None = None
    feature_names: tuple[str, ...] = ()
    parts: Array | None = None
    details: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def has_classes(self) -> bool:
        return self.task not in ("regression", *_WRITING)

    @property
    def is_stratified(self) -> bool:
        """Whether each example has one class, whose proportions parts keep."""
        return self.has_classes and self.labels.ndim == 1

    @property
    def strata(self) -> Array:
        """(N,) the classes whose proportions parts keep; where there are none it is one."""
        return self.labels if self.is_stratified else np.zeros(len(self), np.int64)

    @property
    def stratum_names(self) -> tuple[str, ...]:
        """Of `strata`, in their order."""
        return self.class_labels if self.is_stratified else ("all",)

    def having(self, index: int) -> Array:
        """(N,) whether an example is of a class, or has pixels of it."""
        found = np.asarray(self.labels == index)
        having: Array = np.logical_or.reduce(found.reshape(len(self), -1), axis=1)
        return having

    def take(self, indices: Array) -> Examples:
        """Those examples only, in that order."""
        parts = None if self.parts is None else self.parts[indices]
        return replace(self, inputs=self.inputs[indices], labels=self.labels[indices], parts=parts)


PART_NAMES = {
    "train": TRAIN,
    "training": TRAIN,
    "validation": VALIDATION,
    "valid": VALIDATION,
    "val": VALIDATION,
    "dev": VALIDATION,
    "test": TEST,
    "testing": TEST,
}


def encode_classes(names: Sequence[str]) -> tuple[Array, tuple[str, ...]]:
    """Class names → indices (N,) int64 and the sorted names; numbers are sorted as numbers.

    Raises:
        InvalidArgument: there are too many or fewer than two, or one has a name too long.
    """
    distinct = set(names)
    if len(distinct) > MAX_CLASSES:
        raise InvalidArgument(
            f"there are {len(distinct)} classes; at most {MAX_CLASSES} are allowed (is the label "
            "column one of names or measurements?)"
        )
    if len(distinct) < 2:
        only = f"the only one is {next(iter(distinct))!r:.80}" if distinct else "there is none"
        raise InvalidArgument(f"a data set needs two classes or more; {only}")
    check_names(distinct)
    ordered = sorted(distinct, key=_sort_key)
    indices = {name: index for index, name in enumerate(ordered)}
    return np.array([indices[name] for name in names], np.int64), tuple(ordered)


def encode_masks(masks: Array, names: tuple[str, ...] | None) -> tuple[Array, tuple[str, ...]]:
    """Numbers of pixels as indices of classes, uint8, and what the classes are called.

    Args:
        masks: (N, H, W), whole numbers from 0.
        names: of the classes; None: the numbers themselves are.

    Raises:
        InvalidArgument: fewer than two classes, too many, or other than are named.
    """
    values = np.unique(masks)
    if names is None:
        names = tuple(str(value) for value in values.tolist())
    elif len(values) > len(names) or (len(values) < len(names) and values[-1] >= len(names)):
        raise InvalidArgument(
            f"the masks hold {len(values)} numbers, up to {values[-1]}, and {len(names)} classes "
            f"are named ({', '.join(names[:5])}); name as many, or use the numbers 0 to "
            f"{len(names) - 1}"
        )
    if not 2 <= len(names) <= MAX_MASK_CLASSES:
        raise InvalidArgument(
            f"the masks have {len(names)} classes; allowed are 2 to {MAX_MASK_CLASSES}"
        )
    check_names(names)
    if len(values) == len(names):
        masks = np.searchsorted(values, masks)
    return masks.astype(np.uint8), names


def check_names(names: Iterable[str]) -> None:
    """Refuses names of classes that are too long to travel with models."""
    longest = max(names, key=len)
    if len(longest) > MAX_NAME_CHARACTERS:
        raise InvalidArgument(
            f"class {longest!r:.60} … has {len(longest)} characters; at most "
            f"{MAX_NAME_CHARACTERS} are allowed (is the label column one of texts?)"
        )


def _sort_key(name: str) -> tuple[int, float, str]:
    try:
        number = float(name)
    except ValueError:
        return (1, 0.0, name)
    return (1, 0.0, name) if math.isnan(number) else (0, number, name)
