"""Gated recurrent units.

Cho et al., "Learning phrase representations using RNN encoder-decoder for statistical machine
translation", EMNLP 2014, §2.3, arXiv:1406.1078.

Departure from the paper: the reset gate looks at the product with the recurrent weights and not at
the state before it, as in PyTorch and cuDNN; ONNX calls it linear_before_reset.
"""

from __future__ import annotations

from torch import nn

from trainer.data.dataset import DatasetInfo
from trainer.zoo.recurrent.building import TASKS, RecurrentHyperparameters, build_network
from trainer.zoo.registry import register


class GRUHyperparameters(RecurrentHyperparameters):
    """As all recurrent networks have them."""


@register(
    "gru",
    summary="Gated recurrent units: classes, tags, texts from texts, a language, a value",
    source="Cho et al. 2014, Learning phrase representations using RNN encoder-decoder, §2.3",
    tasks=TASKS,
    hyperparameters=GRUHyperparameters,
)
class GRU(nn.Module):
    """Which network it is, the data set says: `trainer.zoo.recurrent.heads` has them."""

    @classmethod
    def build(cls, hyperparameters: GRUHyperparameters, dataset: DatasetInfo) -> nn.Module:
        return build_network("gru", hyperparameters, dataset)
