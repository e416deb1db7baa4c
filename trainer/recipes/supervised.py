"""Supervised learning of any task: the loop, with early stopping that keeps the best epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from trainer.data.dataset import Dataset
from trainer.recipes.device import autocast_dtype, describe_device
from trainer.recipes.evaluation import measure
from trainer.recipes.examples import create_examples
from trainer.recipes.hyperparameters import SupervisedHyperparameters
from trainer.recipes.learning import Learner
from trainer.recipes.ranks import ALONE, Ranks
from trainer.recipes.run import TrainingRun
from trainer.recipes.text import tokenised
from trainer.recipes.trained import CPU, Trained, fixed, prepare
from trainer.recipes.transfer import Source, adopt, check_prefixes, freeze
from trainer.recipes.watcher import Stopped, Watcher
from trainer.zoo.registry import Architecture
from wintergarden.errors import FailedPrecondition, InvalidArgument


def train(
    architecture: Architecture,
    hyperparameters: SupervisedHyperparameters,
    dataset: Dataset,
    seed: int,
    watcher: Watcher | None = None,
    *,
    state: Mapping[str, Any] | None = None,
    source: Source | None = None,
    device: torch.device = CPU,
    ranks: Ranks = ALONE,
) -> Trained:
    """Trains a new network; the test part is never looked at.

    On a CPU the same seed, data, hyperparameters, torch build, CPU type, thread and process
    counts give the same weights, bit by bit, whether or not the training was interrupted.

    Args:
        architecture: what to build.
        hyperparameters: of the architecture's class.
        dataset: what to learn from.
        seed: of initial weights, order, dropout and augmentation.
        watcher: who follows; rank 0's alone should do anything.
        state: to go on from; `Checkpointable.state_dict` gave it. Rank 0's is everybody's.
        source: of the weights to begin with, where the hyperparameters want any; rank 0's too.
        device: of this rank, from `choose_device`.
        ranks: the processes that train together; each calls this with the same arguments.

    Returns:
        The network on the CPU, in eval mode; the same on every rank.

    Raises:
        InvalidArgument: these hyperparameters let the weights explode, the batch does not divide
            by the number of processes, or the source is of another network.
        Unsupported: this device cannot train in the precision asked for.
        Stopped: the watcher said so, on rank 0; every rank raises it at the same step.
    """
    watcher = watcher or Watcher()
    if architecture.is_fixed:
        return fixed(architecture, hyperparameters, dataset, seed)
    dataset = tokenised(dataset, hyperparameters)
    _check(hyperparameters, device, ranks)

    def begin() -> tuple[Trained, TrainingRun]:
        new = prepare(
            architecture, hyperparameters, dataset, seed, device=device, processes=ranks.count
        )
        _check_normalisation(new, ranks)
        _check_carrying(new, ranks)
        _begin_with(source, new, watcher, ranks)
        examples = create_examples(dataset.train, new.task, dataset.info, CPU)
        batches = len(examples.batches(hyperparameters.batch_size))
        return new, TrainingRun(new.network, hyperparameters, batches, new.parent)

    trained, run = begin()
    if (shared := ranks.share(state)) is not None:
        try:
            run.load_state_dict(dict(shared))
        except FailedPrecondition as error:
            watcher.on_log("warning", f"training starts from the beginning: {error.message}")
            trained, run = begin()
    watcher.on_log("info", _describe(run, hyperparameters, device, ranks))
    freeze(trained.network, hyperparameters, run.epoch)
    learner = Learner(
        run,
        hyperparameters,
        dataset,
        trained.preprocessing,
        trained.task,
        seed=seed,
        ranks=ranks,
    )
    while not run.is_over:
        freeze(trained.network, hyperparameters, run.epoch)
        for indices in learner.batches(run.epoch)[run.batch :]:
            learner.learn(indices)
            _tell(run, watcher, ranks)
        _end_epoch(trained, run, watcher, ranks)
    run.keep_best()
    trained.network.to(CPU).eval()
    trained.network.requires_grad_(True)
    trained.preprocessing.to(CPU)
    trained.task.to(CPU)
    trained.kept_epoch, trained.history = run.kept_epoch, run.history
    return trained


def _begin_with(source: Source | None, new: Trained, watcher: Watcher, ranks: Ranks) -> None:
    """Where the hyperparameters say so, the same weights of another model on all ranks."""
    hyperparameters = new.hyperparameters
    check_prefixes(new.network, hyperparameters)
    if hyperparameters.unfreeze_epochs and ranks.count > 1:
        raise InvalidArgument(
            f"hyperparameter 'unfreeze_epochs': got {hyperparameters.unfreeze_epochs} for "
            f"{ranks.count} processes; only one process can set parts free while it trains",
            field="hyperparameters.unfreeze_epochs",
        )
    if not hyperparameters.init_from:
        return
    shared = ranks.share(None if source is None else source.state_dict())
    if shared is None:
        raise InvalidArgument(
            "hyperparameter 'init_from': there is nowhere here to take weights from",
            field="hyperparameters.init_from",
        )
    begun = Source.from_state(shared)
    watcher.on_log("info", adopt(new.network, begun, hyperparameters, new.dataset.info))
    new.parent = begun.lineage


def _check(hyperparameters: SupervisedHyperparameters, device: torch.device, ranks: Ranks) -> None:
    autocast_dtype(hyperparameters.precision, device)
    if hyperparameters.batch_size % ranks.count:
        raise InvalidArgument(
            f"hyperparameter 'batch_size': got {hyperparameters.batch_size} for {ranks.count} "
            "processes; allowed is a multiple of their number, since it is what all of them "
            "together learn from in a step",
            field="hyperparameters.batch_size",
        )


def _check_normalisation(new: Trained, ranks: Ranks) -> None:
    """Refuses batches of which a part would be one example, with which nothing is normalised."""
    if not any(isinstance(module, _BatchNorm) for module in new.network.modules()):
        return
    hyperparameters, examples = new.hyperparameters, len(new.dataset.train)
    whole = min(hyperparameters.batch_size, examples)
    for batch in {whole, examples % hyperparameters.batch_size or whole}:
        if batch // ranks.count // hyperparameters.accumulate < 2:
            raise InvalidArgument(
                f"hyperparameter 'batch_size': got {hyperparameters.batch_size}, which makes a "
                f"batch of {batch} of {examples} examples, for {ranks.count} processes and "
                f"accumulate {hyperparameters.accumulate}; batch normalisation needs two examples "
                "or more in each part",
                field="hyperparameters.batch_size",
            )


def _check_carrying(new: Trained, ranks: Ranks) -> None:
    if new.task.carries and ranks.count > 1:
        raise InvalidArgument(
            f"{ranks.count} processes: only one can learn a language, whose batches go on where "
            "those before them ended",
            field="processes",
        )


def _describe(
    run: TrainingRun,
    hyperparameters: SupervisedHyperparameters,
    device: torch.device,
    ranks: Ranks,
) -> str:
    processes = f", {ranks.count} processes" if ranks.count > 1 else ""
    going_on = f", going on after step {run.step} of {run.steps}" if run.step else ""
    return f"on {describe_device(device)} in {hyperparameters.precision}{processes}{going_on}"


def _tell(run: TrainingRun, watcher: Watcher, ranks: Ranks) -> None:
    """A step is done: whoever follows hears of it, and may end the training on all ranks."""
    stopped = None
    try:
        watcher.on_step(run.step, run.steps)
    except Stopped as error:
        stopped = error
    is_last = ranks.any(stopped is not None)
    watcher.on_checkpoint(run, is_last)
    if is_last:
        raise stopped or Stopped("another rank was asked to stop")


def _end_epoch(trained: Trained, run: TrainingRun, watcher: Watcher, ranks: Ranks) -> None:
    train_loss = float(ranks.sum(run.loss_sum)) / len(trained.dataset.train)
    validation = measure(trained, run.judged, trained.dataset.validation, ranks)
    if not math.isfinite(train_loss + validation["loss"]):
        raise InvalidArgument(
            f"the loss became {train_loss} in epoch {run.epoch + 1}; try a learning_rate below "
            f"{trained.hyperparameters.learning_rate:g}",
            field="hyperparameters.learning_rate",
        )
    metrics = {
        "epoch": float(run.epoch + 1),
        "train_loss": train_loss,
        "validation_loss": validation["loss"],
        f"validation_{trained.task.score}": validation[trained.task.score],
        "learning_rate": run.rate,
        "epoch_seconds": run.epoch_seconds,
    }
    run.end_epoch(metrics)
    watcher.on_epoch(run.step, metrics)
    watcher.on_checkpoint(run, False)
