"""What can be made of recurrent layers: the five ways from inputs to outputs.

After Karpathy, "The unreasonable effectiveness of recurrent neural networks", 2015: one to one, one
to many, many to one, and many to many, aligned or not.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainer.decoding.network import State
from trainer.recipes.examples import lengths_of
from trainer.zoo.recurrent.layers import Cell, Recurrent, States, top
from wintergarden.text import BEGIN, PADDING


def lengths(ids: Tensor) -> Tensor:
    """(N,) int64, how long texts (N, T) of ids are; an empty one is one place of padding."""
    return lengths_of(ids).clamp_min(1)


class OneStep(nn.Module):
    """One to one: a sequence of one step, which makes a cell a function.

    Shape:
        input:  (N, F) float32.
        output: (N, K) float32.
    """

    head = ("read_out",)

    def __init__(self, recurrent: Recurrent, classes: int) -> None:
        super().__init__()
        self.recurrent = recurrent
        self.read_out = nn.Linear(recurrent.output_size, classes)

    def forward(self, x: Tensor) -> Tensor:
        outputs, _ = self.recurrent(x.flatten(1)[:, None])
        answer: Tensor = self.read_out(outputs[:, 0])
        return answer


class _Reader(nn.Module):
    """Reads texts, and a read-out says what they are; how, is its heirs'."""

    head = ("read_out",)

    def __init__(
        self, ids: int, embed_dim: int, recurrent: Recurrent, classes: int, dropout: float
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(ids, embed_dim, padding_idx=PADDING)
        self.recurrent = recurrent
        self.dropout = nn.Dropout(dropout)
        self.read_out = nn.Linear(recurrent.output_size, classes)


class Classifier(_Reader):
    """Many to one: the last hidden state of each direction, and a read-out.

    Shape:
        input:  (N, T) int64, ids of tokens, 0 after a text's end.
        output: (N, K) float32, unnormalised logits.
    """

    def forward(self, ids: Tensor) -> Tensor:
        x = self.dropout(self.embedding(ids))
        _, states = self.recurrent(x, lengths(ids))
        found = top(states, self.recurrent.directions)
        logits: Tensor = self.read_out(self.dropout(found))
        return logits


class Tagger(_Reader):
    """Many to many, aligned: a read-out at each place.

    Shape:
        input:  (N, T) int64, ids of tokens, 0 after a text's end.
        output: (N, T, K) float32, unnormalised logits.
    """

    def forward(self, ids: Tensor) -> Tensor:
        x = self.dropout(self.embedding(ids))
        outputs, _ = self.recurrent(x, lengths(ids))
        logits: Tensor = self.read_out(self.dropout(outputs))
        return logits


class LanguageModel(nn.Module):
    """One to many: what it has written is what it reads next. A `trainer.decoding.network.Writer`.

    Shape:
        tokens: (N, T) int64; a row that begins with the mark of it forgets its states.
        states: (N, layers, H) each; empty: zeros.
        output: logits (N, T, V) float32 of the token that follows each, and the states.
    """

    head = ("read_out",)

    def __init__(self, ids: int, embed_dim: int, recurrent: Recurrent, dropout: float) -> None:
        super().__init__()
        self.embedding = nn.Embedding(ids, embed_dim, padding_idx=PADDING)
        self.recurrent = recurrent
        self.dropout = nn.Dropout(dropout)
        self.read_out = nn.Linear(recurrent.output_size, ids)

    @property
    def states(self) -> tuple[State, ...]:
        shape = self.recurrent.state_shape
        return tuple(State(name, shape) for name in self.recurrent.state_names)

    def forward(self, tokens: Tensor, states: States = ()) -> tuple[Tensor, States]:
        goes_on = (tokens[:, 0] != BEGIN)[:, None, None]
        states = tuple(torch.where(goes_on, rows, 0.0) for rows in states)
        return self._read(tokens, states)

    def step(self, token: Tensor, states: States) -> tuple[Tensor, States]:
        logits, following = self._read(token, states)
        return logits[:, 0], following

    def _read(self, tokens: Tensor, states: States) -> tuple[Tensor, States]:
        x = self.dropout(self.embedding(tokens))
        outputs, following = self.recurrent(x, states=states)
        return self.read_out(self.dropout(outputs)), following


class EncoderDecoder(nn.Module):
    """Many to many: a source read as a whole, then a target written. A `Translator`.

    Cho et al. 2014, arXiv:1406.1078, §2.2: what the encoder ends with is what the decoder begins
    with, and sees at each step. Departures: layers, both directions, any of the three cells, and
    the read-out is linear in the decoder's state and the encoder's (their eq. 10 has maxout).

    Shape:
        source: (N, S) int64, 0 after a text's end.
        prefix: (N, T) int64, the mark of the begin and what is written so far.
        output: logits (N, T, V) float32 of the token that follows each place of the prefix.
    """

    memories = ("context",)
    head = ("target_embedding", "read_out")

    def __init__(
        self,
        ids: int,
        target_ids: int,
        embed_dim: int,
        *,
        cell: Cell,
        hidden_size: int,
        layers: int,
        bidirectional: bool,
        dropout: float,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(ids, embed_dim, padding_idx=PADDING)
        self.encoder = Recurrent(
            cell,
            embed_dim,
            hidden_size,
            layers=layers,
            bidirectional=bidirectional,
            dropout=dropout,
        )
        context = self.encoder.output_size
        self.target_embedding = nn.Embedding(target_ids, embed_dim, padding_idx=PADDING)
        self.decoder = Recurrent(
            cell, embed_dim + context, hidden_size, layers=layers, dropout=dropout
        )
        self.bridge = nn.Linear(context, len(self.decoder.state_names) * layers * hidden_size)
        self.dropout = nn.Dropout(dropout)
        self.read_out = nn.Linear(hidden_size + context, target_ids)

    @property
    def states(self) -> tuple[State, ...]:
        shape = self.decoder.state_shape
        return tuple(State(name, shape) for name in self.decoder.state_names)

    def memory(self, source: Tensor) -> tuple[Tensor, ...]:
        """The last hidden states of the encoder's last layer, (N, D · H)."""
        x = self.dropout(self.embedding(source))
        _, states = self.encoder(x, lengths(source))
        return (top(states, self.encoder.directions),)

    def begin(self, memory: tuple[Tensor, ...]) -> States:
        layers, hidden_size = self.decoder.state_shape
        begun = torch.tanh(self.bridge(memory[0]))
        parts = begun.unflatten(1, (len(self.decoder.state_names), layers, hidden_size))
        return tuple(parts.unbind(1))

    def step(
        self, token: Tensor, states: States, memory: tuple[Tensor, ...]
    ) -> tuple[Tensor, States, None]:
        logits, following = self._write(token, states, memory[0])
        return logits[:, 0], following, None

    def forward(self, source: Tensor, prefix: Tensor) -> Tensor:
        memory = self.memory(source)
        logits, _ = self._write(prefix, self.begin(memory), memory[0])
        return logits

    def _write(self, prefix: Tensor, states: States, context: Tensor) -> tuple[Tensor, States]:
        seen = context[:, None].expand(-1, prefix.shape[1], -1)
        x = torch.cat([self.dropout(self.target_embedding(prefix)), seen], dim=2)
        outputs, following = self.decoder(x, states=states)
        return self.read_out(torch.cat([self.dropout(outputs), seen], dim=2)), following
