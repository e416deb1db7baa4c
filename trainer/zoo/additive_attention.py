"""Additive attention: a small network says where to look, given what is written so far.

Bahdanau, Cho, Bengio, "Neural machine translation by jointly learning to align and translate",
ICLR 2015, §3.1 and appendix A.1.2. arXiv:1409.0473
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class AdditiveAttention(nn.Module):
    """Weights of places, and the sum of what is there: a_ij = v · tanh(W s + U h_j).

    Args:
        state_size: of s.
        annotation_size: D, of each h_j.
        attention_size: A, of the hidden layer.
    """

    def __init__(self, state_size: int, annotation_size: int, attention_size: int) -> None:
        super().__init__()
        self.query = nn.Linear(state_size, attention_size, bias=False)  # W_a
        self.key = nn.Linear(annotation_size, attention_size)  # U_a
        self.energy = nn.Linear(attention_size, 1, bias=False)  # v_a

    def forward(
        self, state: Tensor, annotations: Tensor, keys: Tensor, bias: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Looks once.

        Args:
            state: (N, state_size).
            annotations: (N, S, D).
            keys: (N, S, A), `self.key(annotations)`, which stay the same.
            bias: (N, S), added to the energies; None: every place is there.

        Returns:
            The context (N, D), and the weights (N, S).
        """
        energies = self.energy(torch.tanh(keys + self.query(state)[:, None]))[..., 0]
        if bias is not None:
            energies = energies + bias
        weights = torch.softmax(energies, dim=1)
        return (weights[:, None] @ annotations)[:, 0], weights
