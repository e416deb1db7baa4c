"""The encoder–decoder that first looked where it wanted to.

Bahdanau, Cho, Bengio, "Neural machine translation by jointly learning to align and translate",
ICLR 2015, §3 and appendix A. arXiv:1409.0473

Departures from the paper: the read-out is a linear layer of the new state and the context, for the
maxout layer of the old state, the last word and the context (A.2.2); dropout.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainer.decoding.network import State
from trainer.zoo.additive_attention import AdditiveAttention
from trainer.zoo.attention import visible
from trainer.zoo.recurrent.layers import Recurrent
from wintergarden.text import PADDING


class Bahdanau(nn.Module):
    """A bidirectional GRU reads, a GRU writes; 414 880 parameters for 200 ids to 32, H 128.

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
        annotations, _ = self.encoder(embedded, is_there.sum(dim=1))  # (N, S, 2H)
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
