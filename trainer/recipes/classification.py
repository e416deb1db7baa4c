"""Supervised classification: the loop, with early stopping that keeps the best epoch."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from trainer.data.dataset import Dataset, Split
from trainer.recipes.augmentation import random_affine
from trainer.recipes.preprocessing import Preprocessing
from trainer.zoo.registry import Architecture

SGD_MOMENTUM = 0.9
EVALUATION_BATCH = 512


class Stopped(Exception):
    """Training was asked to stop, at a step's end."""


@dataclass(frozen=True)
class Watcher:
    """Who follows a training.

    Attributes:
        on_step: after each optimisation step, with steps done and steps in all; what it raises
            ends the training.
        on_epoch: after each epoch, with the steps done and its metrics.
    """

    on_step: Callable[[int, int], None] = lambda step, steps: None
    on_epoch: Callable[[int, Mapping[str, float]], None] = lambda step, metrics: None


@dataclass
class Trained:
    """What a training was and leaves behind; the network has the weights of `kept_epoch`."""

    architecture: Architecture
    dataset: Dataset
    hyperparameters: Any
    seed: int
    network: nn.Module
    preprocessing: Preprocessing
    kept_epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)


def train(
    architecture: Architecture,
    hyperparameters: Any,
    dataset: Dataset,
    seed: int,
    watcher: Watcher | None = None,
) -> Trained:
    """Trains a new network; the test part is never looked at.

    The same seed, data, hyperparameters, torch build, CPU type and thread count give the same
    weights, bit by bit.

    Args:
        architecture: what to build.
        hyperparameters: as `hyperparameters.validate` returns them.
        dataset: what to learn from.
        seed: of initial weights, order, dropout and augmentation.
        watcher: who follows.
    """
    watcher = watcher or Watcher()
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(seed)
    generator = Generator().manual_seed(seed)
    preprocessing = Preprocessing(dataset, architecture.image_side)
    network = architecture.build(hyperparameters, dataset.info)
    trained = Trained(architecture, dataset, hyperparameters, seed, network, preprocessing)

    steps_per_epoch = math.ceil(len(dataset.train) / hyperparameters.batch_size)
    steps = steps_per_epoch * hyperparameters.epochs
    optimizer = _optimizer(network, hyperparameters)
    scheduler = _scheduler(optimizer, hyperparameters, steps)
    is_augmented = getattr(hyperparameters, "augment", False)
    best_loss, kept_weights, step = math.inf, copy.deepcopy(network.state_dict()), 0

    for epoch in range(1, hyperparameters.epochs + 1):
        started = time.perf_counter()
        network.train()
        losses = []
        for inputs, labels in _batches(dataset.train, hyperparameters.batch_size, generator):
            seen = random_affine(inputs, generator) if is_augmented else inputs
            optimizer.zero_grad()
            logits = network(preprocessing(seen))
            loss = functional.cross_entropy(
                logits, labels, label_smoothing=hyperparameters.label_smoothing
            )
            (loss + _penalty(network, hyperparameters)).backward()
            optimizer.step()
            scheduler.step()
            losses.append(loss.item())
            step += 1
            watcher.on_step(step, steps)
        validation_loss, validation_accuracy = evaluate(trained, dataset.validation)
        # A schedule that comes to rest ends at weights better than any on the way: choosing
        # among epochs by few validation examples would only add their noise.
        if validation_loss < best_loss or not hyperparameters.patience:
            best_loss, trained.kept_epoch = validation_loss, epoch
            kept_weights = copy.deepcopy(network.state_dict())
        metrics = {
            "epoch": float(epoch),
            "train_loss": sum(losses) / len(losses),
            "validation_loss": validation_loss,
            "validation_accuracy": validation_accuracy,
            "learning_rate": optimizer.param_groups[0]["lr"],
            "epoch_seconds": time.perf_counter() - started,
        }
        if not math.isfinite(metrics["train_loss"]):
            raise ArithmeticError(
                f"the training loss became {metrics['train_loss']} in epoch {epoch}; "
                "try a lower learning_rate"
            )
        trained.history.append(metrics)
        watcher.on_epoch(step, metrics)
        if hyperparameters.patience and epoch - trained.kept_epoch >= hyperparameters.patience:
            break
    network.load_state_dict(kept_weights)
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


def _penalty(network: nn.Module, hyperparameters: Any) -> Tensor | float:
    """L1 and L2 terms of the loss, over weight matrices and kernels."""
    if not hyperparameters.l1 and not hyperparameters.l2:
        return 0.0
    weights = [p for p in network.parameters() if p.ndim > 1]
    l1 = torch.stack([w.abs().sum() for w in weights]).sum()
    l2 = torch.stack([w.square().sum() for w in weights]).sum() / 2
    penalty: Tensor = l1 * hyperparameters.l1 + l2 * hyperparameters.l2
    return penalty


def _optimizer(network: nn.Module, hyperparameters: Any) -> torch.optim.Optimizer:
    rate = hyperparameters.learning_rate
    if hyperparameters.optimizer == "sgd":
        return torch.optim.SGD(network.parameters(), lr=rate, momentum=SGD_MOMENTUM)
    return torch.optim.Adam(network.parameters(), lr=rate)


def _scheduler(
    optimizer: torch.optim.Optimizer, hyperparameters: Any, steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    schedules = torch.optim.lr_scheduler
    match hyperparameters.schedule:
        case "one_cycle":
            return schedules.OneCycleLR(
                optimizer, max_lr=hyperparameters.learning_rate, total_steps=steps + 1
            )
        case "cosine":
            return schedules.CosineAnnealingLR(optimizer, T_max=steps)
        case _:
            return schedules.ConstantLR(optimizer, factor=1.0)
