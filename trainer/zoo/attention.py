"""Multi-head attention, and the layers of a transformer made of it.

Vaswani et al., "Attention is all you need", NeurIPS 2017, §3.1 to §3.3. arXiv:1706.03762

Departures from the paper: layers normalise what they are given and not what they answer (Xiong et
al. 2020, arXiv:2002.04745: no warm-up is needed then); GELU for the ReLU of the feed-forward part.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

HIDDEN = -1e9
"""Added to a score before softmax: its weight is exactly 0."""


def visible(is_there: Tensor) -> Tensor:
    """What is added to scores so that only what is there counts; (…) bool to (…) float32."""
    return torch.where(is_there, 0.0, HIDDEN)


def causal(x: Tensor, window: int | None = None) -> Tensor:
    """(T, T), for x (N, T): each place sees the last `window` places or all, itself among them."""
    places = torch.arange(x.shape[1], device=x.device)
    distance = places[:, None] - places[None]
    sees = distance >= 0
    if window is not None:
        sees = sees & (distance < window)
    return visible(sees)


class MultiHeadAttention(nn.Module):
    """Scaled dot-product attention in parallel (§3.2.2); 4 (E² + E) parameters.

    Keys and values are asked for apart from the queries, so that they can be kept.

    Args:
        embed_dim: E.
        num_heads: H, which divides E.
    """

    def __init__(self, embed_dim: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query = nn.Linear(embed_dim, embed_dim)
        self.key = nn.Linear(embed_dim, embed_dim)
        self.value = nn.Linear(embed_dim, embed_dim)
        self.output = nn.Linear(embed_dim, embed_dim)

    def queries(self, x: Tensor) -> Tensor:
        """(N, T, E) to (N, H, T, E / H)."""
        return self._heads(self.query(x))

    def keys(self, x: Tensor) -> Tensor:
        """(N, S, E) to (N, H, S, E / H)."""
        return self._heads(self.key(x))

    def values(self, x: Tensor) -> Tensor:
        """(N, S, E) to (N, H, S, E / H)."""
        return self._heads(self.value(x))

    def forward(
        self, queries: Tensor, keys: Tensor, values: Tensor, bias: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Eq. 1.

        Args:
            queries: (N, H, T, E / H).
            keys: (N, H, S, E / H).
            values: (N, H, S, E / H).
            bias: added to the scores; anything that broadcasts to (N, H, T, S).

        Returns:
            (N, T, E), and the weights (N, H, T, S).
        """
        scores = queries @ keys.transpose(2, 3) / math.sqrt(queries.shape[3])
        weights = torch.softmax(scores + bias, dim=3)
        joined = (weights @ values).transpose(1, 2).flatten(2)  # (N, T, E)
        return self.output(joined), weights

    def _heads(self, x: Tensor) -> Tensor:
        heads: Tensor = x.unflatten(2, (self.num_heads, -1))
        return heads.transpose(1, 2)


class FeedForward(nn.Sequential):
    """Position by position (§3.3), normalised before; (N, T, E) to the same."""

    def __init__(self, embed_dim: int, feedforward_dim: int, dropout: float) -> None:
        super().__init__(
            nn.LayerNorm(embed_dim),
            nn.Linear(embed_dim, feedforward_dim),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(feedforward_dim, embed_dim),
        )


class EncoderLayer(nn.Module):
    """Everything looks at everything, then at itself.

    Shape:
        x:      (N, S, E)
        bias:   (N, 1, 1, S)
        output: (N, S, E)
    """

    def __init__(
        self, embed_dim: int, num_heads: int, feedforward_dim: int, dropout: float
    ) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(embed_dim)
        self.attention = MultiHeadAttention(embed_dim, num_heads)
        self.feedforward = FeedForward(embed_dim, feedforward_dim, dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        normal, attention = self.norm(x), self.attention
        found, _ = attention(
            attention.queries(normal), attention.keys(normal), attention.values(normal), bias
        )
        x = x + self.dropout(found)
        answer: Tensor = x + self.dropout(self.feedforward(x))
        return answer


class Encoder(nn.Module):
    """Layers, one over the other, and a last normalisation; (N, S, E) to the same."""

    def __init__(
        self, layers: int, embed_dim: int, num_heads: int, feedforward_dim: int, dropout: float
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            EncoderLayer(embed_dim, num_heads, feedforward_dim, dropout) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(embed_dim)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x, bias)
        encoded: Tensor = self.norm(x)
        return encoded
