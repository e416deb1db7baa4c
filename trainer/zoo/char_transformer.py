"""A language model of attention alone: the transformer's decoder without a source.

Vaswani et al., "Attention is all you need", NeurIPS 2017, §3, arXiv:1706.03762; without a source
as in Radford et al., "Improving language understanding by generative pre-training", 2018, §3.1.

Departures: those of `attention`; positions are told by rotating queries and keys (Su et al.,
"RoFormer", 2021, §3.2.2, eq. 34, arXiv:2104.09864), so that only distances count, and each place
sees the last `context` alone: a text may be longer than any that was learnt from, and a step needs
a ring of so many keys and values and no more.
"""

from __future__ import annotations

from typing import Self, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from trainer.data.dataset import DatasetInfo
from trainer.decoding.network import State
from trainer.zoo.attention import FeedForward, MultiHeadAttention, causal, visible
from trainer.zoo.registry import register
from trainer.zoo.transformer import AttentionHyperparameters
from trainer.zoo.vocabularies import source_vocabulary
from wintergarden.text import PADDING

_BASE = 10_000.0


def rotated(x: Tensor, places: Tensor) -> Tensor:
    """Turns pairs of a head's numbers by angles that grow with the place.

    Args:
        x: (N, H, T, D), D even; the first half's numbers are paired with the second's.
        places: (N, T) or (1, T) int64.
    """
    half = x.shape[3] // 2
    speeds = _BASE ** (-torch.arange(half, device=x.device) / half)
    angles = places[:, None, :, None] * speeds  # (N, 1, T, D / 2)
    cosine, sine = angles.cos(), angles.sin()
    first, second = x[..., :half], x[..., half:]
    return torch.cat([first * cosine - second * sine, first * sine + second * cosine], dim=3)


class Layer(nn.Module):
    """Looks at what is written so far, then at itself."""

    def __init__(
        self, embed_dim: int, num_heads: int, feedforward_dim: int, dropout: float
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(embed_dim)
        self.attention = MultiHeadAttention(embed_dim, num_heads)
        self.feedforward = FeedForward(embed_dim, feedforward_dim, dropout)
        self.dropout = nn.Dropout(dropout)

    def keys_and_values(self, x: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        """What later places see of these; (N, T, E) to (N, H, T, E / H) twice."""
        normal = self.norm(x)
        return rotated(self.attention.keys(normal), places), self.attention.values(normal)

    def forward(
        self, x: Tensor, places: Tensor, written: tuple[Tensor, Tensor], bias: Tensor
    ) -> Tensor:
        """One layer up; (N, T, E) to the same."""
        queries = rotated(self.attention.queries(self.norm(x)), places)
        found, _ = self.attention(queries, *written, bias)
        x = x + self.dropout(found)
        answer: Tensor = x + self.dropout(self.feedforward(x))
        return answer


class CharTransformerHyperparameters(AttentionHyperparameters):
    embed_dim: int = Field(default=128, ge=2, le=4096)
    """Numbers that stand for a token, in every layer; a multiple of twice the heads."""
    layers: int = Field(default=4, ge=1, le=48)
    """One over the other."""
    feedforward_dim: int = Field(default=512, ge=1, le=16_384)
    """Width of the hidden layer that each place goes through by itself."""
    context: int = Field(default=256, ge=2, le=4096)
    """Tokens that a layer looks back at, the last one among them; pieces that are learnt from
    should be as long."""
    piece_tokens: int = Field(default=256, ge=2, le=16_384)
    """Tokens of a document that are learnt together; what came before them is not seen."""


@register(
    "char_transformer",
    summary="A language model of attention alone, which writes one token after another",
    source="Vaswani et al. 2017, Attention is all you need, §3; Radford et al. 2018, §3.1",
    tasks=("language-modelling",),
    hyperparameters=CharTransformerHyperparameters,
)
class CharTransformer(nn.Module):
    """Layers over an embedding; 819 044 parameters for 100 ids, E 128, four layers of 512.

    Shape:
        tokens: (N, T) int64, the begin's id first where a text begins, 0 after its end.
        output: logits (N, T, V) float32 of the token that follows each.

    Args:
        ids: V.
        embed_dim: E.
        num_heads: H.
        layers: L.
        feedforward_dim: of a layer's inner one.
        dropout: of what each part of a layer adds, in training.
        context: places that a layer looks back at, itself among them.
    """

    def __init__(
        self,
        ids: int,
        *,
        embed_dim: int = 128,
        num_heads: int = 4,
        layers: int = 4,
        feedforward_dim: int = 512,
        dropout: float = 0.0,
        context: int = 256,
    ) -> None:
        super().__init__()
        self.embedding = nn.Embedding(ids, embed_dim, padding_idx=PADDING)
        self.layers = nn.ModuleList(
            Layer(embed_dim, num_heads, feedforward_dim, dropout) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(embed_dim)
        self.read_out = nn.Linear(embed_dim, ids)
        self.dropout = nn.Dropout(dropout)
        self.context = context
        self._ring = (num_heads, context, embed_dim // num_heads)
        nn.init.normal_(self.embedding.weight, std=0.05)
        with torch.no_grad():
            self.embedding.weight[PADDING] = 0.0

    @classmethod
    def build(cls, hyperparameters: CharTransformerHyperparameters, dataset: DatasetInfo) -> Self:
        return cls(
            source_vocabulary(dataset).size,
            embed_dim=hyperparameters.embed_dim,
            num_heads=hyperparameters.num_heads,
            layers=hyperparameters.layers,
            feedforward_dim=hyperparameters.feedforward_dim,
            dropout=hyperparameters.dropout,
            context=hyperparameters.context,
        )

    @property
    def states(self) -> tuple[State, ...]:
        """What was written: each layer's keys and values in rings, and how many tokens that are.

        A step adds one entry to a ring and leaves the rest alone, and reads only the new ring: a
        server may then write it in place, where it would else be moved as a whole at each step.
        """
        rings = (f"{kind}_{n}" for n in range(len(self.layers)) for kind in ("keys", "values"))
        return (*(State(name, self._ring) for name in rings), State("place", (1,), "INT64"))

    @property
    def _decoder(self) -> list[Layer]:
        return cast("list[Layer]", list(self.layers))

    def forward(
        self, tokens: Tensor, states: tuple[Tensor, ...] = ()
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The logits, and no states: what came before these tokens is not seen."""
        del states
        places = torch.arange(tokens.shape[1], device=tokens.device)[None]
        bias = causal(tokens, self.context)
        x = self.dropout(self.embedding(tokens))
        for layer in self._decoder:
            x = layer(x, places, layer.keys_and_values(x, places), bias)
        return self.read_out(self.norm(x)), ()

    def step(self, token: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        *rings, place = states
        slots = torch.arange(self.context, device=token.device)
        heads, _, size = self._ring
        here = (place % self.context)[:, None, :, None].expand(-1, heads, -1, size)  # (N, H, 1, D)
        bias = visible(slots <= place)[:, None, None]  # (N, 1, 1, C); a full ring is all seen
        x = self.embedding(token)
        kept: list[Tensor] = []
        for layer, keys, values in zip(self._decoder, rings[::2], rings[1::2], strict=True):
            key, value = layer.keys_and_values(x, place)
            kept += [keys.scatter(2, here, key), values.scatter(2, here, value)]
            x = layer(x, place, (kept[-2], kept[-1]), bias)
        return self.read_out(self.norm(x))[:, 0], (*kept, place + 1)
