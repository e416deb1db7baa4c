"""The transformer: an encoder and a decoder of attention alone, and the encoder as a classifier.

Vaswani et al., "Attention is all you need", NeurIPS 2017, §3 and Fig. 1. arXiv:1706.03762

Departures from the paper: those of `attention`; positions are learnt (the paper's Table 3, row E:
as good); source and target have vocabularies, and so embeddings, of their own, neither scaled nor
shared with the read-out.
"""

from __future__ import annotations

from typing import cast

import torch
from pydantic import Field, ValidationInfo, field_validator
from torch import Tensor, nn

from trainer.data.dataset import DatasetInfo
from trainer.decoding.network import State
from trainer.recipes.hyperparameters import (
    Dropout,
    Epochs,
    LearningRate,
    SequenceHyperparameters,
)
from trainer.zoo.attention import Encoder, FeedForward, MultiHeadAttention, causal, visible
from trainer.zoo.registry import register
from trainer.zoo.vocabularies import source_vocabulary, target_vocabulary
from wintergarden.text import PADDING


class AttentionHyperparameters(SequenceHyperparameters):
    """Of networks of attention alone."""

    num_heads: int = Field(default=4, ge=1, le=64)
    """Places of attention in each layer that look for something of their own."""
    embed_dim: int = Field(default=96, ge=2, le=4096)
    """Numbers that stand for a token, in every layer; a multiple of twice the heads."""
    layers: int = Field(default=2, ge=1, le=48)
    """One over the other."""
    feedforward_dim: int = Field(default=192, ge=1, le=16_384)
    """Width of the hidden layer that each place goes through by itself."""
    dropout: Dropout = 0.0
    """Probability that a number that a part of a layer adds is dropped in training."""
    epochs: Epochs = 20
    learning_rate: LearningRate = 2e-3
    clip_norm: float = Field(default=1.0, ge=0)
    """Gradients whose norm is larger are scaled down to it (Pascanu et al. 2013); 0 leaves them."""

    @field_validator("embed_dim")
    @classmethod
    def _divides(cls, value: int, beside: ValidationInfo) -> int:
        heads = beside.data.get("num_heads", 1)
        if value % (2 * heads):
            raise ValueError(f"a multiple of {2 * heads}, twice the number of heads")
        return value


class TransformerHyperparameters(AttentionHyperparameters):
    """Of encoder and decoder, each."""


class DecoderLayer(nn.Module):
    """Looks at what is written so far, then at the source, then at itself (§3.1)."""

    def __init__(
        self, embed_dim: int, num_heads: int, feedforward_dim: int, dropout: float
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(embed_dim)
        self.attention = MultiHeadAttention(embed_dim, num_heads)
        self.source_norm = nn.LayerNorm(embed_dim)
        self.source_attention = MultiHeadAttention(embed_dim, num_heads)
        self.feedforward = FeedForward(embed_dim, feedforward_dim, dropout)
        self.dropout = nn.Dropout(dropout)

    def keys_and_values(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What later places see of these; (N, T, E) to (N, H, T, E / H) twice."""
        normal = self.norm(x)
        return self.attention.keys(normal), self.attention.values(normal)

    def forward(
        self,
        x: Tensor,
        written: tuple[Tensor, Tensor],
        bias: Tensor,
        source: tuple[Tensor, Tensor],
        source_bias: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """One layer up.

        Args:
            x: (N, T, E).
            written: keys and values (N, H, T', E / H) of what is written.
            bias: which of it is seen, to (N, H, T, T').
            source: keys and values (N, H, S, E / H).
            source_bias: which of it is there, (N, 1, 1, S).

        Returns:
            (N, T, E), and where in the source it looked, (N, H, T, S).
        """
        found, _ = self.attention(self.attention.queries(self.norm(x)), *written, bias)
        x = x + self.dropout(found)
        queries = self.source_attention.queries(self.source_norm(x))
        found, weights = self.source_attention(queries, *source, source_bias)
        x = x + self.dropout(found)
        return x + self.dropout(self.feedforward(x)), weights


@register(
    "transformer",
    summary="Attention alone: an encoder and a decoder for texts from texts, the encoder for "
    "classes of texts",
    source="Vaswani et al. 2017, Attention is all you need, §3",
    tasks=("sequence-to-sequence", "text-classification"),
    hyperparameters=TransformerHyperparameters,
)
class Transformer(nn.Module):
    """An encoder and a decoder; 424 352 parameters for 200 ids to 32, E 96, two layers each.

    Shape:
        source: (N, S) int64, ids of tokens, 0 after a text's end.
        prefix: (N, T) int64, the begin's id and the tokens written so far.
        output: logits (N, T, V) float32 of the token that follows each; the attention of the last
            layer's heads together (N, T, S); and that of each layer and head (N, L, H, T, S).

    Args:
        ids: of the source's vocabulary.
        target_ids: V, of the target's.
        embed_dim: E.
        num_heads: H.
        layers: L, of the encoder and of the decoder.
        feedforward_dim: of a layer's inner one.
        dropout: of what each part of a layer adds, in training.
        max_source: places that are told apart; later ones count as the last.
        max_target: likewise; also how many tokens a step looks back at.
    """

    memories = ("there", "source_keys", "source_values")
    observations = ("attention", "attention_heads")
    """Names of what `forward` answers beside the logits."""

    def __init__(
        self,
        ids: int,
        target_ids: int,
        *,
        embed_dim: int = 96,
        num_heads: int = 4,
        layers: int = 2,
        feedforward_dim: int = 192,
        dropout: float = 0.0,
        max_source: int = 128,
        max_target: int = 128,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(ids, embed_dim, padding_idx=PADDING)
        self.target_embedding = nn.Embedding(target_ids, embed_dim, padding_idx=PADDING)
        self.positions = nn.Embedding(max_source, embed_dim)
        self.target_positions = nn.Embedding(max_target, embed_dim)
        self.encoder = Encoder(layers, embed_dim, num_heads, feedforward_dim, dropout)
        self.layers = nn.ModuleList(
            DecoderLayer(embed_dim, num_heads, feedforward_dim, dropout) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(embed_dim)
        self.read_out = nn.Linear(embed_dim, target_ids)
        self.dropout = nn.Dropout(dropout)
        self._cache = (layers, num_heads, max_target, embed_dim // num_heads)
        for table in (self.embedding, self.target_embedding, self.positions, self.target_positions):
            nn.init.normal_(table.weight, std=0.05)
        with torch.no_grad():
            self.embedding.weight[PADDING] = self.target_embedding.weight[PADDING] = 0.0

    @classmethod
    def build(cls, hyperparameters: TransformerHyperparameters, dataset: DatasetInfo) -> nn.Module:
        chosen = {
            "embed_dim": hyperparameters.embed_dim,
            "num_heads": hyperparameters.num_heads,
            "layers": hyperparameters.layers,
            "feedforward_dim": hyperparameters.feedforward_dim,
            "max_source": hyperparameters.max_tokens,
        }
        ids, dropout = source_vocabulary(dataset).size, hyperparameters.dropout
        if dataset.task == "text-classification":
            classes = len(dataset.class_labels)
            return TransformerEncoder(ids, classes, dropout=dropout, **chosen)
        # Before the first token there is the mark of the begin.
        most, target = 1 + hyperparameters.max_target_tokens, target_vocabulary(dataset).size
        return cls(ids, target, dropout=dropout, max_target=most, **chosen)

    @property
    def states(self) -> tuple[State, ...]:
        """What was written: keys and values in a ring, and how many tokens that are."""
        return (
            State("keys", self._cache),
            State("values", self._cache),
            State("place", (1,), "INT64"),
        )

    @property
    def _decoder(self) -> list[DecoderLayer]:
        return cast("list[DecoderLayer]", list(self.layers))

    def forward(self, source: Tensor, prefix: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        there, keys, values = self.memory(source)
        places = torch.arange(prefix.shape[1], device=prefix.device).clamp_max(
            self.target_positions.num_embeddings - 1
        )
        x = self.dropout(self.target_embedding(prefix) + self.target_positions(places))
        bias, looked = causal(prefix), []
        for number, layer in enumerate(self._decoder):
            memory = keys[:, number], values[:, number]
            x, weights = layer(x, layer.keys_and_values(x), bias, memory, there[:, None, None])
            looked.append(weights)
        logits = self.read_out(self.norm(x))
        return logits, looked[-1].mean(dim=1), torch.stack(looked, dim=1)

    def memory(self, source: Tensor) -> tuple[Tensor, ...]:
        """Which tokens are there (N, S); what layers see of them (N, L, H, S, E / H), twice."""
        there = visible(source != PADDING)
        places = torch.arange(source.shape[1], device=source.device).clamp_max(
            self.positions.num_embeddings - 1
        )
        x = self.dropout(self.embedding(source) + self.positions(places))
        encoded = self.encoder(x, there[:, None, None])
        keys = [layer.source_attention.keys(encoded) for layer in self._decoder]
        values = [layer.source_attention.values(encoded) for layer in self._decoder]
        return there, torch.stack(keys, dim=1), torch.stack(values, dim=1)

    def begin(self, memory: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        nothing = memory[0].sum(dim=1) * 0  # (N,): of as many rows, also where that is open
        cache = nothing[:, None, None, None, None].expand(-1, *self._cache)
        return cache, cache.clone(), nothing[:, None].long()

    def step(
        self, token: Tensor, states: tuple[Tensor, ...], memory: tuple[Tensor, ...]
    ) -> tuple[Tensor, tuple[Tensor, ...], Tensor | None]:
        keys, values, place = states
        there, source_keys, source_values = memory
        length = self._cache[2]
        slots = torch.arange(length, device=token.device)
        is_here = (slots == place % length)[:, None, :, None]  # (N, 1, T', 1)
        bias = visible(slots <= place)[:, None, None]  # (N, 1, 1, T'); a full ring is all seen
        x = self.target_embedding(token) + self.target_positions(place.clamp_max(length - 1))
        all_keys, all_values = [], []
        weights = x
        for number, layer in enumerate(self._decoder):
            key, value = layer.keys_and_values(x)
            all_keys.append(torch.where(is_here, key, keys[:, number]))
            all_values.append(torch.where(is_here, value, values[:, number]))
            source = source_keys[:, number], source_values[:, number]
            written = all_keys[-1], all_values[-1]
            x, weights = layer(x, written, bias, source, there[:, None, None])
        kept = torch.stack(all_keys, dim=1), torch.stack(all_values, dim=1), place + 1
        logits = self.read_out(self.norm(x))[:, 0]
        return logits, kept, weights.mean(dim=1)[:, 0]


class TransformerEncoder(nn.Module):
    """The encoder alone, and a read-out of the mean of what its places say; 274 151 parameters for
    200 ids and 71 classes.

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
        embed_dim: int = 96,
        num_heads: int = 4,
        layers: int = 2,
        feedforward_dim: int = 192,
        dropout: float = 0.1,
        max_source: int = 1024,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(ids, embed_dim, padding_idx=PADDING)
        self.positions = nn.Embedding(max_source, embed_dim)
        self.encoder = Encoder(layers, embed_dim, num_heads, feedforward_dim, dropout)
        self.dropout = nn.Dropout(dropout)
        self.read_out = nn.Linear(embed_dim, num_classes)
        for table in (self.embedding, self.positions):
            nn.init.normal_(table.weight, std=0.05)
        with torch.no_grad():
            self.embedding.weight[PADDING] = 0.0

    def forward(self, ids: Tensor) -> Tensor:
        is_there = ids != PADDING  # (N, T)
        places = torch.arange(ids.shape[1], device=ids.device).clamp_max(
            self.positions.num_embeddings - 1
        )
        x = self.dropout(self.embedding(ids) + self.positions(places))
        encoded = self.encoder(x, visible(is_there)[:, None, None])  # (N, T, E)
        counts = is_there.to(encoded.dtype)[..., None]
        mean = (encoded * counts).sum(dim=1) / counts.sum(dim=1).clamp_min(1.0)
        logits: Tensor = self.read_out(self.dropout(mean))
        return logits
