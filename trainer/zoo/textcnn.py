"""Convolutions on text.

Kim, "Convolutional neural networks for sentence classification", EMNLP 2014, §2 and Fig. 1.
arXiv:1408.5882

Departures from the paper: the embedding is learnt with the rest and not word2vec's (the paper's
CNN-rand); tokens may be characters; no limit on the norm of the read-out's weights. A window
begins at a token and may reach over the end, where there are zeros, and what begins at padding
does not count: a text's answer does not depend on how long its neighbours in a batch are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Self

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from trainer.data.dataset import DatasetInfo
from trainer.recipes.hyperparameters import (
    Dropout,
    Epochs,
    LearningRate,
    TextHyperparameters,
)
from trainer.zoo.registry import register
from wintergarden.errors import InvalidArgument
from wintergarden.text import PADDING


class TextCNNHyperparameters(TextHyperparameters):
    embed_dim: int = Field(default=64, ge=1, le=1024)
    """Numbers that stand for a token."""
    widths: tuple[Annotated[int, Field(ge=1, le=32)], ...] = Field(
        default=(3, 4, 5), min_length=1, max_length=16
    )
    """Tokens that a window of each kind looks at."""
    maps: int = Field(default=100, ge=1, le=4096)
    """Features that are looked for in the windows of each width."""
    dropout: Dropout = 0.5
    """Probability that an input of the read-out is dropped in training."""
    epochs: Epochs = 20
    learning_rate: LearningRate = 3e-3


@register(
    "textcnn",
    summary="Convolutions of several widths over the tokens of a text, and the maximum over time",
    source="Kim 2014, Convolutional neural networks for sentence classification, §2",
    tasks=("text-classification",),
    hyperparameters=TextCNNHyperparameters,
)
class TextCNN(nn.Module):
    """An embedding, windows of several widths, a read-out; 226 599 parameters for 2 002 ids, 64
    numbers a token, 100 maps of 3, 4 and 5 tokens and 71 classes.

    Shape:
        input:  (N, T) int64, ids of tokens, 0 after a text's end.
        output: (N, num_classes) float32, unnormalised logits.
    """

    head = ("read_out",)

    def __init__(
        self,
        ids: int,
        num_classes: int,
        *,
        embed_dim: int = 64,
        widths: Sequence[int] = (3, 4, 5),
        maps: int = 100,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(ids, embed_dim, padding_idx=PADDING)
        self.windows = nn.ModuleList(nn.Conv1d(embed_dim, maps, width) for width in widths)
        self.widths = tuple(widths)
        self.dropout = nn.Dropout(dropout)
        self.read_out = nn.Linear(maps * len(self.widths), num_classes)

    @classmethod
    def build(cls, hyperparameters: TextCNNHyperparameters, dataset: DatasetInfo) -> Self:
        if dataset.vocabulary is None:
            raise InvalidArgument(f"{dataset.name} has no vocabulary", field="dataset")
        return cls(
            ids=dataset.vocabulary.size,
            num_classes=len(dataset.class_labels),
            embed_dim=hyperparameters.embed_dim,
            widths=hyperparameters.widths,
            maps=hyperparameters.maps,
            dropout=hyperparameters.dropout,
        )

    def forward(self, ids: Tensor) -> Tensor:
        embedded = self.embedding(ids).transpose(1, 2)  # (N, E, T)
        is_there = (ids != PADDING).to(embedded.dtype)[:, None]  # (N, 1, T)
        found = []
        for width, window in zip(self.widths, self.windows, strict=True):
            maps = functional.relu(window(functional.pad(embedded, (0, width - 1))))  # (N, M, T)
            found.append((maps * is_there).amax(dim=2))  # eq. 4, of values that are not negative
        logits: Tensor = self.read_out(self.dropout(torch.cat(found, dim=1)))
        return logits
