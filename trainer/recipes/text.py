"""Texts become token ids before anything is learnt; what follows sees arrays of integers.

    text-classification     inputs (N, T)                     labels as they are
    tagging                 inputs (N, T)                     labels (N, T), -1 at padding
    sequence-to-sequence    inputs (N, S)                     labels (N, T): begin, tokens, end
    captioning              inputs as they are: pictures      labels the same
    language-modelling      inputs (M, T): pieces of documents, labels the token that follows each

All int64, 0 after the last token. Vocabularies are those of the training part.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from torch import Tensor, nn

from trainer.data.byte_pairs import learn_byte_pairs
from trainer.data.dataset import Array, Dataset, Split
from trainer.recipes.hyperparameters import (
    SequenceHyperparameters,
    SupervisedHyperparameters,
    TextHyperparameters,
)
from trainer.recipes.sequence_tasks import NO_TAG
from wintergarden.errors import InvalidArgument
from wintergarden.text import PADDING, Level, Vocabulary

INPUT = "tokens"


def tokenised(dataset: Dataset, hyperparameters: SupervisedHyperparameters) -> Dataset:
    """A data set of texts with token ids in their place; any other as it is.

    The digest stays that of the texts.

    Raises:
        InvalidArgument: the architecture is not for texts, or not for texts to be written.
    """
    info = dataset.info
    has_texts = dataset.train.inputs.dtype == object
    has_targets = info.task in ("sequence-to-sequence", "captioning")
    if has_targets and dataset.train.labels.dtype == object:
        dataset = _with_targets(dataset, hyperparameters)
    if not has_texts:
        return dataset
    if not isinstance(hyperparameters, TextHyperparameters):
        raise InvalidArgument(
            f"{info.name} holds texts, and this architecture takes none", field="dataset"
        )
    if info.task == "language-modelling":
        return _in_pieces(dataset, hyperparameters)
    vocabulary = build_vocabulary(
        dataset.train.inputs.tolist(),
        hyperparameters.tokens,
        hyperparameters.vocabulary_size,
        hyperparameters.max_tokens,
        is_verbatim=info.is_verbatim or info.task == "tagging",
    )
    if info.task == "tagging" and vocabulary.level != "character":
        raise InvalidArgument(
            f"hyperparameter 'tokens': got {vocabulary.level!r}; allowed is 'character', since "
            f"{info.name} has a class for each",
            field="hyperparameters.tokens",
        )

    def part(split: Split) -> Split:
        ids = vocabulary.encode(split.inputs.tolist())
        tagged = info.task == "tagging" and split.labels.dtype == object
        return Split(ids, _filled(split.labels, ids.shape[1]) if tagged else split.labels)

    return _numbered(dataset, vocabulary, [part(s) for s in _parts(dataset)])


def build_vocabulary(
    texts: Sequence[str],
    level: Level,
    size: int,
    max_tokens: int,
    *,
    is_marked: bool = False,
    is_verbatim: bool = False,
) -> Vocabulary:
    """The vocabulary of texts, whatever its level."""
    marks = {"is_marked": is_marked, "is_verbatim": is_verbatim}
    if level != "byte-pair":
        return Vocabulary.build(texts, level, size, max_tokens, **marks)
    tokens, merges = learn_byte_pairs(texts, size)
    return Vocabulary(level, tokens, max_tokens, merges=merges, **marks)


def _with_targets(dataset: Dataset, hyperparameters: SupervisedHyperparameters) -> Dataset:
    info = dataset.info
    if not isinstance(hyperparameters, SequenceHyperparameters):
        raise InvalidArgument(
            f"{info.name} has texts to be written, and this architecture writes none",
            field="dataset",
        )
    vocabulary = build_vocabulary(
        dataset.train.labels.tolist(),
        hyperparameters.target_tokens,
        hyperparameters.target_vocabulary_size,
        hyperparameters.max_target_tokens,
        is_marked=True,
        is_verbatim=info.is_verbatim,
    )

    def part(split: Split) -> Split:
        labels = vocabulary.encode(split.labels.tolist(), begin=True, end=True)
        return Split(split.inputs, labels)

    described = replace(info, target_vocabulary=vocabulary, uploaded_digest=dataset.digest)
    return Dataset(described, *map(part, _parts(dataset)))


def _in_pieces(dataset: Dataset, hyperparameters: TextHyperparameters) -> Dataset:
    """Documents, each between its marks, as pieces of the length that gradients go back through."""
    if not isinstance(hyperparameters, SequenceHyperparameters):
        raise InvalidArgument(
            f"{dataset.info.name} is a language to learn, and this architecture learns none",
            field="dataset",
        )
    vocabulary = build_vocabulary(
        dataset.train.inputs.tolist(),
        hyperparameters.tokens,
        hyperparameters.vocabulary_size,
        hyperparameters.max_tokens,
        is_marked=True,
        is_verbatim=dataset.info.is_verbatim,
    )
    whole = replace(vocabulary, max_tokens=sys.maxsize)

    def part(split: Split) -> Split:
        size = hyperparameters.piece_tokens
        documents = [whole.encode([text], begin=True, end=True)[0] for text in split.inputs]
        return Split(
            np.concatenate([_pieces(ids[:-1], size) for ids in documents]),
            np.concatenate([_pieces(ids[1:], size) for ids in documents]),
        )

    return _numbered(dataset, vocabulary, [part(s) for s in _parts(dataset)])


def _numbered(dataset: Dataset, vocabulary: Vocabulary, parts: Sequence[Split]) -> Dataset:
    described = replace(
        dataset.info,
        input_name=INPUT,
        input_shape=(-1,),
        units=f"ids of {vocabulary.level}s, 0 after the last",
        value_range=(0.0, float(vocabulary.size - 1)),
        uploaded_digest=dataset.digest,
        vocabulary=vocabulary,
    )
    return Dataset(described, *parts)


def _parts(dataset: Dataset) -> tuple[Split, Split, Split]:
    return dataset.train, dataset.validation, dataset.test


def _pieces(ids: Array, size: int) -> Array:
    """(L,) in rows of a size, (M, size), padded at the end."""
    rows = np.full((-(-len(ids) // size), size), PADDING, np.int64)
    rows.reshape(-1)[: len(ids)] = ids
    return rows


def _filled(labels: Array, length: int) -> Array:
    """Tags of each text as one array (N, T)."""
    filled = np.full((len(labels), length), NO_TAG, np.int64)
    for row, tags in zip(filled, labels, strict=True):
        row[: len(tags)] = tags[:length]
    return filled


class Tokens(nn.Module):
    """What stands before a network that takes token ids: nothing.

    Shape:
        input:  (N, T) int64.
        output: the same.
    """

    def forward(self, ids: Tensor) -> Tensor:
        return ids

    def describe(self) -> str:
        """In words, for the manifest."""
        return "none: texts become token ids by the manifest's vocabulary, wintergarden.text"
