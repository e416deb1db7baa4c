"""The encoder–decoder that first looked where it wanted to.

Bahdanau, Cho, Bengio, "Neural machine translation by jointly learning to align and translate",
ICLR 2015, §3 and appendix A. arXiv:1409.0473

Departures from the paper: the read-out is a linear layer of the new state and the context, for the
maxout layer of the old state, the last word and the context (A.2.2); dropout.
"""

from __future__ import annotations

from typing import Self

import torch
from pydantic import Field
from torch import Tensor, nn

from trainer.data.dataset import DatasetInfo
from trainer.decoding.network import State
from trainer.recipes.examples import lengths_of
from trainer.recipes.hyperparameters import (
    Dropout,
    Epochs,
    LearningRate,
    SequenceHyperparameters,
)
from trainer.zoo.additive_attention import AdditiveAttention
from trainer.zoo.attention import visible
from trainer.zoo.recurrent.layers import Recurrent
from trainer.zoo.registry import register
from trainer.zoo.vocabularies import source_vocabulary, target_vocabulary
from wintergarden.text import PADDING


class BahdanauHyperparameters(SequenceHyperparameters):
    embed_dim: int = Field(default=64, ge=1, le=4096)
    """Numbers that stand for a token of the source."""
    target_embed_dim: int = Field(default=32, ge=1, le=4096)
    """Numbers that stand for a token of the target."""
    hidden_size: int = Field(default=128, ge=1, le=4096)
    """Cells of the encoder in each direction, of the decoder, and of what aligns them."""
    dropout: Dropout = 0.0
    """Probability that a number of an embedding, or of what is read out, is dropped in training."""
    epochs: Epochs = 6
    learning_rate: LearningRate = 3e-3
    clip_norm: float = Field(default=1.0, ge=0)
    """Gradients whose norm is larger are scaled down to it (Pascanu et al. 2013); 0 leaves them."""


@register(
    "bahdanau",
    summary="A recurrent encoder and decoder, and attention that aligns what they read and write",
    source="Bahdanau, Cho, Bengio 2015, Neural machine translation by jointly learning to align "
    "and translate, §3",
    tasks=("sequence-to-sequence",),
    hyperparameters=BahdanauHyperparameters,
)
class Bahdanau(nn.Module):
    """A bidirectional GRU reads, a GRU writes; 401 568 parameters for 200 ids to 32, H 128.

    Shape:
        source: (N, S) int64, ids of tokens, 0 after a text's end.
        prefix: (N, T) int64, the begin's id and the tokens written so far.
        output: logits (N, T, V) float32 of the token that follows each, and the alignment
            (N, T, S).

    Args:
        ids: of the source's vocabulary.
        target_ids: V, of the target's.
        embed_dim: of a source's token.
        target_embed_dim: of a target's.
        hidden_size: H, of the encoder in each direction, the decoder and the alignment.
        dropout: of embeddings and of what is read out, in training.
    """

    memories = ("annotations", "keys", "there")
    is_stepwise = True
    """What it is told is read place by place."""

    def __init__(
        self,
        ids: int,
        target_ids: int,
        *,
        embed_dim: int = 64,
        target_embed_dim: int = 32,
        hidden_size: int = 128,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(ids, embed_dim, padding_idx=PADDING)
        self.target_embedding = nn.Embedding(target_ids, target_embed_dim, padding_idx=PADDING)
        self.encoder = Recurrent("gru", embed_dim, hidden_size, bidirectional=True)
        self.first_state = nn.Linear(hidden_size, hidden_size)  # W_s
        self.attention = AdditiveAttention(hidden_size, 2 * hidden_size, hidden_size)
        self.decoder = nn.GRUCell(target_embed_dim + 2 * hidden_size, hidden_size)
        self.read_out = nn.Linear(3 * hidden_size, target_ids)
        self.dropout = nn.Dropout(dropout)
        self._hidden_size = hidden_size

    @classmethod
    def build(cls, hyperparameters: BahdanauHyperparameters, dataset: DatasetInfo) -> Self:
        return cls(
            ids=source_vocabulary(dataset).size,
            target_ids=target_vocabulary(dataset).size,
            embed_dim=hyperparameters.embed_dim,
            target_embed_dim=hyperparameters.target_embed_dim,
            hidden_size=hyperparameters.hidden_size,
            dropout=hyperparameters.dropout,
        )

    @property
    def states(self) -> tuple[State, ...]:
        return (State("hidden", (self._hidden_size,)),)

    def forward(self, source: Tensor, prefix: Tensor) -> tuple[Tensor, Tensor]:
        memory = self.memory(source)
        states = self.begin(memory)
        logits, alignment = [], []
        for place in range(prefix.shape[1]):
            step, states, weights = self.step(prefix[:, place : place + 1], states, memory)
            logits.append(step)
            alignment.append(weights)
        return torch.stack(logits, dim=1), torch.stack(alignment, dim=1)

    def memory(self, source: Tensor) -> tuple[Tensor, ...]:
        """Annotations (N, S, 2H), what the attention compares (N, S, H), and which are there."""
        is_there = source != PADDING  # (N, S)
        embedded = self.dropout(self.embedding(source))
        lengths = lengths_of(source).clamp_min(1)  # an empty text is one place of padding
        annotations, _ = self.encoder(embedded, lengths)  # (N, S, 2H)
        return annotations, self.attention.key(annotations), visible(is_there)

    def begin(self, memory: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """From what the backward direction says when it has read all (A.2.2)."""
        backward = memory[0][:, 0, self._hidden_size :]  # (N, H)
        return (torch.tanh(self.first_state(backward)),)

    def step(
        self, token: Tensor, states: tuple[Tensor, ...], memory: tuple[Tensor, ...]
    ) -> tuple[Tensor, tuple[Tensor, ...], Tensor]:
        (hidden,), (annotations, keys, there) = states, memory
        context, weights = self.attention(hidden, annotations, keys, there)  # eq. 5, 6
        embedded = self.dropout(self.target_embedding(token)[:, 0])
        hidden = self.decoder(torch.cat([embedded, context], dim=1), hidden)
        logits = self.read_out(self.dropout(torch.cat([hidden, context], dim=1)))
        return logits, (hidden,), weights
