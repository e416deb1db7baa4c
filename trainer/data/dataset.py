"""What a data set is: examples in three fixed parts, and what a served model needs to know."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

Task = Literal["image-classification", "tabular-classification", "text-classification"]
Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class DatasetInfo:
    """A data set as one can describe it without loading it.

    Attributes:
        name: as users write it.
        summary: one line.
        source: where the data come from.
        task: what there is to learn.
        input_name: of the served graph's input.
        input_shape: of one example: (C, H, W) or (F,); () for a text.
        units: of the input's values.
        value_range: lowest and highest value there can be; None where there is none.
        class_labels: in the order of the class indices.
        split_sizes: examples in train, validation and test.
        feature_names: of a table's columns.
        uploaded_digest: what the store calls an uploaded data set for good; empty for those that
            come with packages.
    """

    name: str
    summary: str
    source: str
    task: Task
    input_name: str
    input_shape: tuple[int, ...]
    units: str
    value_range: tuple[float, float] | None
    class_labels: tuple[str, ...]
    split_sizes: dict[str, int]
    feature_names: tuple[str, ...] = ()
    uploaded_digest: str = ""


@dataclass(frozen=True)
class Split:
    """Examples (N, …) float32, or objects of `str`, and their classes (N,) int64."""

    inputs: Array
    labels: Array

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Dataset:
    """`test` is held out: no choice, of weights or of anything else, may look at it."""

    info: DatasetInfo
    train: Split
    validation: Split
    test: Split

    @cached_property
    def digest(self) -> str:
        """Sha256 over every example of every part, in order; that of the store where it has one."""
        if self.info.uploaded_digest:
            return self.info.uploaded_digest
        sha256 = hashlib.sha256()
        for split in (self.train, self.validation, self.test):
            for array in (split.inputs, split.labels):
                sha256.update(f"{array.dtype.str}{array.shape}".encode())
                sha256.update(np.ascontiguousarray(array).tobytes())
        return sha256.hexdigest()


def stratified(info: DatasetInfo, inputs: Array, labels: Array) -> Dataset:
    """Parts of the sizes that `info` says, each with the classes' proportions; always the same.

    Args:
        info: whose split sizes add up to N.
        inputs: (N, …), brought to float32.
        labels: (N,) class indices.
    """
    from sklearn.model_selection import train_test_split

    sizes = info.split_sizes
    rest, test = train_test_split(
        np.arange(len(labels)), test_size=sizes["test"], stratify=labels, random_state=0
    )
    train, validation = train_test_split(
        rest, test_size=sizes["validation"], stratify=labels[rest], random_state=0
    )

    def part(indices: Array) -> Split:
        return Split(inputs[indices].astype(np.float32), labels[indices].astype(np.int64))

    return Dataset(info, train=part(train), validation=part(validation), test=part(test))
