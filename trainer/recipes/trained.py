"""What a training was and leaves behind, and how it begins."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import torch
from torch import nn

from trainer.data.dataset import Dataset
from trainer.recipes.device import be_deterministic, environment
from trainer.recipes.hyperparameters import SupervisedHyperparameters
from trainer.recipes.preprocessing import AsSent, Preprocessing
from trainer.recipes.task import Task
from trainer.recipes.tasks import Filtering, create_task
from trainer.recipes.text import Tokens, tokenised
from trainer.zoo.registry import Architecture

CPU = torch.device("cpu")


@dataclass
class Trained:
    """What a training was and leaves behind; the network has the weights of `kept_epoch`.

    Attributes:
        history: per epoch, train_loss (with smoothed labels, without penalties), validation_loss
            and that of the task's score, learning_rate of its last step, and epoch_seconds.
        parent: whose weights it began with, for good; empty: nobody's.
        environment: what the weights' last bits depend on beside all of the above.
    """

    architecture: Architecture
    dataset: Dataset
    hyperparameters: SupervisedHyperparameters
    seed: int
    network: nn.Module
    preprocessing: Preprocessing | Tokens | AsSent
    task: Task
    parent: str = ""
    kept_epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    environment: dict[str, str] = field(default_factory=dict)

    def measures(self) -> dict[str, float]:
        """Of the training itself, for the manifest: kept_epoch, epochs, parameters, seconds."""
        return {
            "kept_epoch": float(self.kept_epoch),
            "epochs": float(len(self.history)),
            "parameters": float(sum(p.numel() for p in self.network.parameters())),
            "train_seconds": sum(row["epoch_seconds"] for row in self.history),
        }


def prepare(
    architecture: Architecture,
    hyperparameters: SupervisedHyperparameters,
    dataset: Dataset,
    seed: int,
    *,
    device: torch.device = CPU,
    processes: int = 1,
) -> Trained:
    """A network with random weights that depend on the seed alone, not trained yet."""
    be_deterministic(device)
    torch.manual_seed(seed)
    dataset = tokenised(dataset, hyperparameters)
    preprocessing: Preprocessing | Tokens = Tokens()
    if dataset.info.vocabulary is None:
        preprocessing = Preprocessing(dataset, architecture.side_for(dataset.info))
    return Trained(
        architecture=architecture,
        dataset=dataset,
        hyperparameters=hyperparameters,
        seed=seed,
        network=architecture.network.build(hyperparameters, dataset.info).to(device),
        preprocessing=preprocessing.to(device),
        task=create_task(dataset, hyperparameters).to(device),
        environment=environment(device, processes),
    )


def fixed(
    architecture: Architecture,
    hyperparameters: SupervisedHyperparameters,
    dataset: Dataset,
    seed: int,
) -> Trained:
    """A network that has nothing to learn, and sees what clients send; on the CPU."""
    info = replace(dataset.info, class_labels=())
    network = architecture.network.build(hyperparameters, info).eval()
    with torch.no_grad():
        answer = network(torch.from_numpy(dataset.train.inputs[:1]))
    return Trained(
        architecture=architecture,
        dataset=replace(dataset, info=info),
        hyperparameters=hyperparameters,
        seed=seed,
        network=network,
        preprocessing=AsSent(),
        task=Filtering(tuple(answer.shape[1:])),
        environment=environment(CPU, 1),
    )
