"""Supervised classification: the loop, with early stopping that keeps the best epoch."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from trainer.data.dataset import Dataset, Split
from trainer.recipes.augmentation import random_affine
from trainer.recipes.hyperparameters import (
    ClassificationHyperparameters,
    ImageClassificationHyperparameters,
)
from trainer.recipes.optimization import L1, create_optimizer, create_schedule
from trainer.recipes.preprocessing import Preprocessing
from trainer.recipes.watcher import Watcher
from trainer.zoo.registry import Architecture
from wintergarden.errors import InvalidArgument

EVALUATION_BATCH = 512


@dataclass
class Trained:
    """What a training was and leaves behind; the network has the weights of `kept_epoch`.

    Attributes:
        history: per epoch, train_loss (with smoothed labels, without penalties), validation_loss
            and validation_accuracy, learning_rate of its last step, and epoch_seconds.
    """

    architecture: Architecture
    dataset: Dataset
    hyperparameters: ClassificationHyperparameters
    seed: int
    network: nn.Module
    preprocessing: Preprocessing
    kept_epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)


def prepare(
    architecture: Architecture,
    hyperparameters: ClassificationHyperparameters,
    dataset: Dataset,
    seed: int,
) -> Trained:
    """A network with random weights that depend on the seed alone, not trained yet."""
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(seed)
    return Trained(
        architecture=architecture,
        dataset=dataset,
        hyperparameters=hyperparameters,
        seed=seed,
        network=architecture.network.build(hyperparameters, dataset.info),
        preprocessing=Preprocessing(dataset, architecture.image_side),
    )


def train(
    architecture: Architecture,
    hyperparameters: ClassificationHyperparameters,
    dataset: Dataset,
    seed: int,
    watcher: Watcher | None = None,
) -> Trained:
    """Trains a new network; the test part is never looked at.

    The same seed, data, hyperparameters, torch build, CPU type and thread count give the same
    weights, bit by bit.

    Args:
        architecture: what to build.
        hyperparameters: of the architecture's class.
        dataset: what to learn from.
        seed: of initial weights, order, dropout and augmentation.
        watcher: who follows.

    Raises:
        InvalidArgument: these hyperparameters let the weights explode.
    """
    watcher = watcher or Watcher()
    trained = prepare(architecture, hyperparameters, dataset, seed)
    network, preprocessing = trained.network, trained.preprocessing
    generator = Generator().manual_seed(seed)
    batch_size, patience = hyperparameters.batch_size, hyperparameters.patience
    steps = math.ceil(len(dataset.train) / batch_size) * hyperparameters.epochs
    optimizer = create_optimizer(network, hyperparameters)
    schedule = create_schedule(optimizer, hyperparameters, steps)
    l1 = L1(optimizer, hyperparameters.l1)
    is_augmented = (
        isinstance(hyperparameters, ImageClassificationHyperparameters) and hyperparameters.augment
    )
    best_loss, kept_weights, step, rate = math.inf, network.state_dict(), 0, 0.0

    for epoch in range(1, hyperparameters.epochs + 1):
        started = time.perf_counter()
        network.train()
        total_loss = 0.0
        for inputs, labels in _batches(dataset.train, batch_size, generator):
            seen = random_affine(inputs, generator) if is_augmented else inputs
            optimizer.zero_grad()
            loss = functional.cross_entropy(
                network(preprocessing(seen)),
                labels,
                label_smoothing=hyperparameters.label_smoothing,
            )
            loss.backward()
            optimizer.step()
            l1.step()
            rate = optimizer.param_groups[0]["lr"]
            schedule.step()
            total_loss += loss.item() * len(labels)
            step += 1
            watcher.on_step(step, steps)
        validation_loss, validation_accuracy = evaluate(trained, dataset.validation)
        metrics = {
            "epoch": float(epoch),
            "train_loss": total_loss / len(dataset.train),
            "validation_loss": validation_loss,
            "validation_accuracy": validation_accuracy,
            "learning_rate": rate,
            "epoch_seconds": time.perf_counter() - started,
        }
        if not math.isfinite(metrics["train_loss"] + validation_loss):
            raise InvalidArgument(
                f"the loss became {metrics['train_loss']} in epoch {epoch}; try a learning_rate "
                f"below {hyperparameters.learning_rate:g}",
                field="hyperparameters.learning_rate",
            )
        trained.history.append(metrics)
        watcher.on_epoch(step, metrics)
        # A schedule that comes to rest ends at weights better than any on the way: choosing
        # among epochs by few validation examples would only add their noise.
        if not patience:
            trained.kept_epoch = epoch
        elif validation_loss < best_loss:
            best_loss, trained.kept_epoch = validation_loss, epoch
            kept_weights = copy.deepcopy(network.state_dict())
        elif epoch - trained.kept_epoch >= patience:
            break
    network.load_state_dict(kept_weights)  # without patience they are the network's own
    network.eval()
    return trained


@torch.no_grad()
def evaluate(trained: Trained, split: Split) -> tuple[float, float]:
    """Mean cross-entropy in nats, and accuracy, over a part of the data."""
    trained.network.eval()
    loss, right = 0.0, 0
    for start in range(0, len(split), EVALUATION_BATCH):
        inputs = torch.from_numpy(split.inputs[start : start + EVALUATION_BATCH])
        labels = torch.from_numpy(split.labels[start : start + EVALUATION_BATCH])
        logits = trained.network(trained.preprocessing(inputs))
        loss += functional.cross_entropy(logits, labels, reduction="sum").item()
        right += int((logits.argmax(dim=1) == labels).sum())
    return loss / len(split), right / len(split)


def _batches(
    split: Split, batch_size: int, generator: Generator
) -> Iterator[tuple[Tensor, Tensor]]:
    inputs, labels = torch.from_numpy(split.inputs), torch.from_numpy(split.labels)
    for indices in torch.randperm(len(split), generator=generator).split(batch_size):
        yield inputs[indices], labels[indices]
