"""The vanilla recurrent network.

Elman, "Finding structure in time", Cognitive Science 14(2), 1990, Fig. 2; its input is what
`recurrent.heads` makes of it.

Departures from the paper: the activation is tanh, and gradients go back through time (Werbos,
"Backpropagation through time", Proc. IEEE 78(10), 1990).
"""

from __future__ import annotations

from torch import nn

from trainer.data.dataset import DatasetInfo
from trainer.recipes.hyperparameters import LearningRate
from trainer.zoo.recurrent.building import TASKS, RecurrentHyperparameters, build_network
from trainer.zoo.registry import register


class RNNHyperparameters(RecurrentHyperparameters):
    learning_rate: LearningRate = 1e-3


@register(
    "rnn",
    summary="Recurrent network without gates: classes, tags, texts from texts, a language, a value",
    source="Elman 1990, Finding structure in time, Fig. 2",
    tasks=TASKS,
    hyperparameters=RNNHyperparameters,
)
class RNN(nn.Module):
    """Which network it is, the data set says: `trainer.zoo.recurrent.heads` has them."""

    @classmethod
    def build(cls, hyperparameters: RNNHyperparameters, dataset: DatasetInfo) -> nn.Module:
        return build_network("rnn", hyperparameters, dataset)
