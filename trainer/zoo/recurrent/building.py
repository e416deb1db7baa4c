"""Which network of recurrent layers a data set asks for, and what a user may choose about it."""

from __future__ import annotations

from pydantic import Field
from torch import nn

from trainer.data.dataset import DatasetInfo, Task
from trainer.recipes.hyperparameters import (
    Dropout,
    Epochs,
    LearningRate,
    SequenceHyperparameters,
)
from trainer.zoo.recurrent.heads import (
    Classifier,
    EncoderDecoder,
    LanguageModel,
    OneStep,
    Tagger,
)
from trainer.zoo.recurrent.layers import Cell, Recurrent
from wintergarden.errors import InvalidArgument
from wintergarden.text import Vocabulary

TASKS: tuple[Task, ...] = (
    "text-classification",
    "tagging",
    "sequence-to-sequence",
    "language-modelling",
    "tabular-classification",
    "regression",
)


class RecurrentHyperparameters(SequenceHyperparameters):
    embed_dim: int = Field(default=64, ge=1, le=4096)
    """Numbers that stand for a token."""
    hidden_size: int = Field(default=128, ge=1, le=4096)
    """Cells of a layer, in each direction."""
    layers: int = Field(default=1, ge=1, le=16)
    """One above another."""
    bidirectional: bool = True
    """Read backwards, too, what is there as a whole: texts to be classed, tagged or encoded."""
    dropout: Dropout = 0.1
    """Probability that a number between layers, or before the read-out, is dropped in training."""
    epochs: Epochs = 20
    learning_rate: LearningRate = 3e-3
    clip_norm: float = Field(default=1.0, ge=0)
    """Gradients whose norm is larger are scaled down to it (Pascanu et al. 2013); 0 leaves them."""


def build_network(cell: Cell, chosen: RecurrentHyperparameters, dataset: DatasetInfo) -> nn.Module:
    """A new network with random weights.

    Raises:
        InvalidArgument: the data set's texts have no vocabulary yet.
    """
    classes = len(dataset.class_labels)
    if dataset.task in ("tabular-classification", "regression"):
        (features,) = dataset.input_shape
        return OneStep(_layers(cell, features, chosen), classes)
    ids = _known(dataset.vocabulary, dataset).size
    if dataset.task == "language-modelling":
        forwards = _layers(cell, chosen.embed_dim, chosen)
        return LanguageModel(ids, chosen.embed_dim, forwards, chosen.dropout)
    if dataset.task == "sequence-to-sequence":
        return EncoderDecoder(
            ids,
            _known(dataset.target_vocabulary, dataset).size,
            chosen.embed_dim,
            cell=cell,
            hidden_size=chosen.hidden_size,
            layers=chosen.layers,
            bidirectional=chosen.bidirectional,
            dropout=chosen.dropout,
        )
    kind = Tagger if dataset.task == "tagging" else Classifier
    layers = _layers(cell, chosen.embed_dim, chosen, bidirectional=chosen.bidirectional)
    return kind(ids, chosen.embed_dim, layers, classes, chosen.dropout)


def _layers(
    cell: Cell, size: int, chosen: RecurrentHyperparameters, *, bidirectional: bool = False
) -> Recurrent:
    return Recurrent(
        cell,
        size,
        chosen.hidden_size,
        layers=chosen.layers,
        bidirectional=bidirectional,
        dropout=chosen.dropout,
    )


def _known(vocabulary: Vocabulary | None, dataset: DatasetInfo) -> Vocabulary:
    if vocabulary is None:
        raise InvalidArgument(f"{dataset.name} has no vocabulary", field="dataset")
    return vocabulary
