"""Long short-term memory.

Hochreiter, Schmidhuber, "Long short-term memory", Neural Computation 9(8), 1997, §4; with the
forget gate of Gers, Schmidhuber, Cummins, "Learning to forget", Neural Computation 12(10), 2000.

Departures from the papers: no peepholes; each cell is a block of its own; gradients go back through
time in full.
"""

from __future__ import annotations

from torch import nn

from trainer.data.dataset import DatasetInfo
from trainer.zoo.recurrent.building import TASKS, RecurrentHyperparameters, build_network
from trainer.zoo.registry import register


class LSTMHyperparameters(RecurrentHyperparameters):
    """As all recurrent networks have them."""


@register(
    "lstm",
    summary="Long short-term memory: classes, tags, texts from texts, a language, a value",
    source="Hochreiter, Schmidhuber 1997, Long short-term memory, §4",
    tasks=TASKS,
    hyperparameters=LSTMHyperparameters,
)
class LSTM(nn.Module):
    """Which network it is, the data set says: `trainer.zoo.recurrent.heads` has them."""

    @classmethod
    def build(cls, hyperparameters: LSTMHyperparameters, dataset: DatasetInfo) -> nn.Module:
        return build_network("lstm", hyperparameters, dataset)
