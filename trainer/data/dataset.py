"""What a data set is: examples in three fixed parts, and what a served model needs to know."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from wintergarden.text import Vocabulary

Task = Literal[
    "image-classification",
    "tabular-classification",
    "text-classification",
    "regression",
    "segmentation",
    "tagging",
    "sequence-to-sequence",
    "language-modelling",
    "captioning",
]
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
        class_labels: in the order of the class indices; of a regression, what its values are; of
            what is generated, none.
        split_sizes: examples in train, validation and test.
        feature_names: of a table's columns.
        uploaded_digest: what the store calls an uploaded data set for good; empty for those that
            come with packages.
        vocabulary: of texts whose tokens are numbered already; None elsewhere.
        target_vocabulary: of what is generated, where its tokens are numbered already.
        is_verbatim: of texts whose white space counts, such as source code.
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
    vocabulary: Vocabulary | None = None
    target_vocabulary: Vocabulary | None = None
    is_verbatim: bool = False


@dataclass(frozen=True)
class Split:
    """Examples (N, …) float32, or objects of `str`, and what is to be learnt of each.

    Attributes:
        inputs: the examples; of language modelling, documents.
        labels: classes (N,) int64; of a regression, values (N, K) float32 in the data set's own
            units; of a segmentation, the class of each pixel (N, H, W) int64; of a tagging, objects
            that are arrays of int64, the class of each character; of sequence-to-sequence and of
            captioning, objects of `str`, the targets; of language modelling, zeros (N,).
    """

    inputs: Array
    labels: Array

    def __len__(self) -> int:
        return len(self.inputs)


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
                sha256.update(_content(array))
        return sha256.hexdigest()


def _content(array: Array) -> bytes:
    if array.dtype == object:  # texts, each with its end, or arrays with one number a character
        rows = (v.encode() if isinstance(v, str) else v.tobytes() for v in array)
        return b"".join(row + b"\0" for row in rows)
    return np.ascontiguousarray(array).tobytes()


def stratified(info: DatasetInfo, inputs: Array, labels: Array) -> Dataset:
    """Parts of the sizes that `info` says; always the same.

    Args:
        info: whose split sizes add up to N.
        inputs: (N, …), brought to float32, or objects of `str`.
        labels: (N,) class indices, whose proportions each part has, or (N, K) values.
    """
    from sklearn.model_selection import train_test_split

    sizes, are_classes = info.split_sizes, labels.ndim == 1
    rest, test = train_test_split(
        np.arange(len(labels)),
        test_size=sizes["test"],
        stratify=labels if are_classes else None,
        random_state=0,
    )
    train, validation = train_test_split(
        rest,
        test_size=sizes["validation"],
        stratify=labels[rest] if are_classes else None,
        random_state=0,
    )
    kept = object if inputs.dtype == object else np.float32

    def part(indices: Array) -> Split:
        return Split(
            inputs[indices].astype(kept),
            labels[indices].astype(np.int64 if are_classes else np.float32),
        )

    return Dataset(info, train=part(train), validation=part(validation), test=part(test))
