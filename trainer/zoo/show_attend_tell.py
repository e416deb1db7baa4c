"""Says what is on a picture, and looks at each thing while it says it.

Xu, Ba, Kiros, Cho, Courville, Salakhutdinov, Zemel, Bengio, "Show, attend and tell: neural image
caption generation with visual attention", ICML 2015, §3.1, §4.2. arXiv:1502.03044

Departures from the paper: the convolutions are small and learnt with the rest (the paper's are
VGG's, fixed); the annotations are told their places, since convolutions over a picture of many
things see none; soft attention only; the doubly stochastic term is off unless asked for.
"""

from __future__ import annotations

import math
from typing import Literal, Self, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from trainer.data.dataset import DatasetInfo
from trainer.decoding.network import State
from trainer.recipes.hyperparameters import (
    AugmentationHyperparameters,
    Dropout,
    Epochs,
    LearningRate,
    SequenceHyperparameters,
)
from trainer.zoo.additive_attention import AdditiveAttention
from trainer.zoo.registry import register
from trainer.zoo.vocabularies import target_vocabulary
from wintergarden.text import PADDING


class ShowAttendTellHyperparameters(AugmentationHyperparameters, SequenceHyperparameters):
    target_tokens: Literal["character", "word", "byte-pair"] = "word"
    """What captions are taken apart into."""
    maps: int = Field(default=64, ge=4, le=1024)
    """Features of each place of the picture."""
    embed_dim: int = Field(default=32, ge=1, le=4096)
    """Numbers that stand for a token."""
    hidden_size: int = Field(default=128, ge=1, le=4096)
    """Cells of the LSTM, and units of the attention."""
    regularisation: float = Field(default=0.0, ge=0, le=100)
    """How much it is wanted that a caption looks at every place alike (Xu et al. 2015, eq. 14, who
    take 1 for photographs); where a few things are to be looked at it keeps the attention wide."""
    dropout: Dropout = 0.1
    """Probability that a number that is read out is dropped in training."""
    epochs: Epochs = 30
    learning_rate: LearningRate = 1.5e-2
    clip_norm: float = Field(default=5.0, ge=0)
    """Gradients whose norm is larger are scaled down to it (Pascanu et al. 2013); 0 leaves them."""


@register(
    "show_attend_tell",
    summary="Says what is on a picture, and looks at each thing while it says it",
    source="Xu et al. 2015, Show, attend and tell, §3",
    tasks=("captioning",),
    hyperparameters=ShowAttendTellHyperparameters,
)
class ShowAttendTell(nn.Module):
    """Convolutions, soft attention, an LSTM; 229 967 parameters for 30 ids and 64x64 in grey.

    Shape:
        image:  (N, C, H, W) float32, standardised per channel; H and W multiples of 8.
        prefix: (N, T) int64, the begin's id and the tokens written so far.
        output: logits (N, T, V) float32 of the token that follows each, and where it looked
            (N, T, S), the places of a grid of H / 8 by W / 8, row by row.

    Args:
        target_ids: V.
        input_shape: (C, H, W).
        maps: of the convolutions: a quarter, a half, all and all of it; D is all.
        embed_dim: of a token.
        hidden_size: of the LSTM and the attention.
        dropout: of what is read out, in training.
        regularisation: λ of eq. 14: how much it is wanted that every place is looked at once.
    """

    memories = ("annotations", "keys")
    is_stepwise = True
    """What it is told is read place by place."""
    shrinks = 8
    """Pixels that a place is wide and high."""

    def __init__(
        self,
        target_ids: int,
        input_shape: tuple[int, int, int],
        *,
        maps: int = 64,
        embed_dim: int = 32,
        hidden_size: int = 128,
        dropout: float = 0.0,
        regularisation: float = 0.0,
    ) -> None:
        super().__init__()
        channels, height, width = input_shape
        quarter, half = max(1, maps // 4), max(1, maps // 2)
        self.convolutions = nn.Sequential(
            *_block(channels, quarter),  # (N, D / 4, H / 2, W / 2)
            *_block(quarter, half),  # (N, D / 2, H / 4, W / 4)
            *_block(half, maps),  # (N, D, H / 8, W / 8)
            nn.Conv2d(maps, maps, 3, padding=1, bias=False),
            nn.BatchNorm2d(maps),
            nn.ReLU(),
        )
        places = math.prod(size // self.shrinks for size in (height, width))
        self.places = nn.Parameter(0.02 * torch.randn(places, maps))
        self.attention = AdditiveAttention(hidden_size, maps, hidden_size)
        self.target_embedding = nn.Embedding(target_ids, embed_dim, padding_idx=PADDING)
        self.first_hidden = nn.Linear(maps, hidden_size)  # f_init,h
        self.first_cell = nn.Linear(maps, hidden_size)  # f_init,c
        self.gate = nn.Linear(hidden_size, 1)  # β of §4.2.1
        self.decoder = nn.LSTMCell(embed_dim + maps, hidden_size)
        self.of_hidden = nn.Linear(hidden_size, embed_dim)  # L_h
        self.of_context = nn.Linear(maps, embed_dim)  # L_z
        self.read_out = nn.Linear(embed_dim, target_ids)  # L_o
        self.dropout = nn.Dropout(dropout)
        self._hidden_size = hidden_size
        self._regularisation = regularisation

    @classmethod
    def build(cls, hyperparameters: ShowAttendTellHyperparameters, dataset: DatasetInfo) -> Self:
        return cls(
            target_vocabulary(dataset).size,
            cast("tuple[int, int, int]", dataset.input_shape),
            maps=hyperparameters.maps,
            embed_dim=hyperparameters.embed_dim,
            hidden_size=hyperparameters.hidden_size,
            dropout=hyperparameters.dropout,
            regularisation=hyperparameters.regularisation,
        )

    @property
    def states(self) -> tuple[State, ...]:
        return State("hidden", (self._hidden_size,)), State("cell", (self._hidden_size,))

    def forward(self, image: Tensor, prefix: Tensor) -> tuple[Tensor, Tensor]:
        memory = self.memory(image)
        states = self.begin(memory)
        logits, looked = [], []
        for place in range(prefix.shape[1]):
            step, states, weights = self.step(prefix[:, place : place + 1], states, memory)
            logits.append(step)
            looked.append(weights)
        return torch.stack(logits, dim=1), torch.stack(looked, dim=1)

    def penalty(self, extra: tuple[Tensor, ...], targets: Tensor) -> Tensor:
        """The doubly stochastic regulariser of eq. 14, summed over the examples.

        Args:
            extra: what `forward` answers beside the logits.
            targets: (N, T + 1), the begin first, padding after each caption's end.
        """
        is_there = (targets[:, 1:] != PADDING).to(extra[0].dtype)[..., None]
        looked = (extra[0] * is_there).sum(dim=1)  # (N, S)
        return self._regularisation * (1.0 - looked).square().sum()

    def memory(self, image: Tensor) -> tuple[Tensor, ...]:
        """Annotations (N, S, D), and what the attention compares (N, S, hidden_size)."""
        maps = self.convolutions(image)  # (N, D, H / 8, W / 8)
        annotations = maps.flatten(2).transpose(1, 2) + self.places  # (N, S, D)
        return annotations, self.attention.key(annotations)

    def begin(self, memory: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """From the mean annotation (§3.1.2)."""
        mean = memory[0].mean(dim=1)
        return torch.tanh(self.first_hidden(mean)), torch.tanh(self.first_cell(mean))

    def step(
        self, token: Tensor, states: tuple[Tensor, ...], memory: tuple[Tensor, ...]
    ) -> tuple[Tensor, tuple[Tensor, ...], Tensor]:
        (hidden, cell), (annotations, keys) = states, memory
        context, weights = self.attention(hidden, annotations, keys)  # eq. 4 to 6, 13
        context = torch.sigmoid(self.gate(hidden)) * context
        embedded = self.target_embedding(token)[:, 0]
        hidden, cell = self.decoder(torch.cat([embedded, context], dim=1), (hidden, cell))
        read = embedded + self.of_hidden(self.dropout(hidden)) + self.of_context(context)  # eq. 7
        return self.read_out(read), (hidden, cell), weights


def _block(channels: int, maps: int) -> list[nn.Module]:
    return [
        nn.Conv2d(channels, maps, 3, padding=1, bias=False),
        nn.BatchNorm2d(maps),
        nn.ReLU(),
        nn.MaxPool2d(2),
    ]
