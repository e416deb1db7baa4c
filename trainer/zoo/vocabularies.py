"""The vocabularies that a network of texts is built for."""

from __future__ import annotations

from trainer.data.dataset import DatasetInfo
from wintergarden.errors import InvalidArgument
from wintergarden.text import Vocabulary


def source_vocabulary(dataset: DatasetInfo) -> Vocabulary:
    """Of the inputs.

    Raises:
        InvalidArgument: they are not numbered.
    """
    return _there(dataset.vocabulary, dataset)


def target_vocabulary(dataset: DatasetInfo) -> Vocabulary:
    """Of what is written.

    Raises:
        InvalidArgument: it is not numbered.
    """
    return _there(dataset.target_vocabulary, dataset)


def _there(vocabulary: Vocabulary | None, dataset: DatasetInfo) -> Vocabulary:
    if vocabulary is None:
        raise InvalidArgument(f"{dataset.name} has no vocabulary", field="dataset")
    return vocabulary
