"""Texts become token ids before anything is learnt; what follows sees arrays of integers."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor, nn

from trainer.data.dataset import Dataset, Split
from trainer.recipes.hyperparameters import SupervisedHyperparameters, TextHyperparameters
from wintergarden.errors import InvalidArgument
from wintergarden.text import Vocabulary

INPUT = "tokens"


def tokenised(dataset: Dataset, hyperparameters: SupervisedHyperparameters) -> Dataset:
    """A data set of texts with token ids (N, T) int64 in their place; any other as it is.

    The vocabulary is that of the training part. The digest stays that of the texts.

    Raises:
        InvalidArgument: the architecture is not for texts.
    """
    info = dataset.info
    if dataset.train.inputs.dtype != object:
        return dataset
    if not isinstance(hyperparameters, TextHyperparameters):
        raise InvalidArgument(
            f"{info.name} holds texts, and this architecture takes none", field="dataset"
        )
    vocabulary = Vocabulary.build(
        dataset.train.inputs.tolist(),
        hyperparameters.tokens,
        hyperparameters.vocabulary_size,
        hyperparameters.max_tokens,
    )

    def part(split: Split) -> Split:
        return Split(vocabulary.encode(split.inputs.tolist()), split.labels)

    described = replace(
        info,
        input_name=INPUT,
        input_shape=(-1,),
        units=f"ids of {vocabulary.level}s, 0 after the last",
        value_range=(0.0, float(vocabulary.size - 1)),
        uploaded_digest=dataset.digest,
        vocabulary=vocabulary,
    )
    return Dataset(described, part(dataset.train), part(dataset.validation), part(dataset.test))


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
