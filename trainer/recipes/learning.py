"""One optimisation step: from the indices of a batch to new weights."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from trainer.data.dataset import Dataset, Split
from trainer.recipes.adversary import Adversary
from trainer.recipes.augmentation import draw_affine, warped
from trainer.recipes.device import autocast_dtype
from trainer.recipes.hyperparameters import (
    ImageClassificationHyperparameters,
    SupervisedHyperparameters,
)
from trainer.recipes.randomness import derived_seed, generator_of, seed_device
from trainer.recipes.ranks import Ranks
from trainer.recipes.run import TrainingRun
from trainer.recipes.task import Task


class Learner:
    """Learns from batches, each shared out over the ranks and computed in parts.

    The loss is the mean over the whole batch, whatever the shares: what is learnt depends on
    neither the number of ranks nor that of parts, but for rounding and for dropout, whose masks
    are a rank's own. On CUDA nothing here waits for the device, so that the next batch is
    gathered and copied while it computes.

    Args:
        run: the training, whose network is where it is to be trained.
        hyperparameters: of the training.
        dataset: to learn from, all in memory.
        preprocessing: where the network is.
        task: where the network is.
        seed: of dropout and augmentation.
        ranks: the processes that train together.
    """

    def __init__(
        self,
        run: TrainingRun,
        hyperparameters: SupervisedHyperparameters,
        dataset: Dataset,
        preprocessing: nn.Module,
        task: Task,
        *,
        seed: int,
        ranks: Ranks,
    ) -> None:
        self._run = run
        self._hyperparameters = hyperparameters
        self._preprocessing = preprocessing
        self._task = task
        # A network may bring what it is taught by, such as the perceptron's rule.
        self._judge: Callable[[Tensor, Tensor], Tensor] = getattr(run.network, "loss", task.loss)
        self._auxiliary_weight = float(getattr(run.network, "auxiliary_weight", 0.0))
        self._seed = seed
        self._ranks = ranks
        self._device = run.loss_sum.device
        self._examples = _Examples(dataset.train, task, self._device)
        self._replica = ranks.replicate(run.network)
        self._parameters = list(run.network.parameters())
        self._dtype = autocast_dtype(hyperparameters.precision, self._device)
        self._is_augmented = False
        self._adversary: Adversary | None = None
        if isinstance(hyperparameters, ImageClassificationHyperparameters):
            self._is_augmented = hyperparameters.augment
            if hyperparameters.adversarial_epsilon:
                self._adversary = Adversary(
                    hyperparameters.adversarial_epsilon,
                    hyperparameters.adversarial_steps,
                    dataset.info.value_range,
                )

    def learn(self, indices: Tensor) -> None:
        """One step on the examples of these indices, (N,); those of all ranks together."""
        run, ranks = self._run, self._ranks
        seed_device(self._device, derived_seed(self._seed, "dropout", run.step, ranks.rank))
        maps = None
        if self._is_augmented:  # drawn for all, so that an example's do not depend on the ranks
            generator = generator_of(self._seed, "augmentation", run.step)
            maps = draw_affine(len(indices), generator)
        starts = None
        if self._adversary is not None:
            generator = generator_of(self._seed, "adversary", run.step)
            starts = self._adversary.starts(len(indices), self._examples.shape, generator)
        share = torch.arange(len(indices)).tensor_split(ranks.count)[ranks.rank]
        parts = [part for part in share.tensor_split(self._hyperparameters.accumulate) if len(part)]
        # A rank that got none of a last, short batch computes an example that counts nothing:
        # the others wait for its gradients.
        weight = 1.0 if parts else 0.0
        parts = parts or [torch.zeros(1, dtype=torch.int64)]
        run.optimizer.zero_grad()
        loss_sum = torch.zeros((), dtype=torch.float64, device=self._device)
        for number, part in enumerate(parts, start=1):
            with ranks.local(self._replica) if number < len(parts) else nullcontext():
                loss = weight * self._loss(
                    indices[part],
                    None if maps is None else maps[part],
                    None if starts is None else starts[part],
                )
                # Gradients become the ranks' mean: their sum is what belongs to the batch's mean.
                run.scaler.scale(loss * (ranks.count / len(indices))).backward()
            loss_sum += loss.detach()
        self._step()
        run.end_step(loss_sum)

    def _loss(self, indices: Tensor, maps: Tensor | None, starts: Tensor | None) -> Tensor:
        """Summed over the examples; auxiliary heads' is added, weighted (Szegedy 2015, §5)."""
        inputs, targets = self._examples.take(indices)
        if maps is not None:
            maps = maps.to(self._device, non_blocking=True)
            inputs, targets = warped(inputs, maps), self._task.warped(targets, maps)
        if self._adversary is not None and starts is not None:
            starts = starts.to(self._device, non_blocking=True)
            inputs = self._adversary.move(
                self._run.network,
                lambda moved: self._judge(self._answers(self._run.network, moved).float(), targets),
                inputs,
                starts,
            )
        answers = self._answers(self._replica, inputs)
        answer, *auxiliary = answers if isinstance(answers, tuple) else (answers,)
        loss = self._judge(answer.float(), targets)
        for other in auxiliary:
            loss = loss + self._auxiliary_weight * self._judge(other.float(), targets)
        return loss

    def _answers(self, network: nn.Module, inputs: Tensor) -> Any:
        """What the network says of raw inputs; several where it has auxiliary heads."""
        inputs = self._preprocessing(inputs)
        with torch.autocast(self._device.type, self._dtype, enabled=self._dtype is not None):
            return network(inputs)

    def _step(self) -> None:
        run = self._run
        if self._hyperparameters.clip_norm:
            run.scaler.unscale_(run.optimizer)
            nn.utils.clip_grad_norm_(self._parameters, self._hyperparameters.clip_norm)
        run.scaler.step(run.optimizer)
        run.scaler.update()
        run.l1.step()


class _Examples:
    """A part of the data in the host's memory, from which batches go to the device."""

    def __init__(self, split: Split, task: Task, device: torch.device) -> None:
        self._inputs, self._targets = torch.from_numpy(split.inputs), task.targets(split.labels)
        self._device = device

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one example's input."""
        return tuple(self._inputs.shape[1:])

    def take(self, indices: Tensor) -> tuple[Tensor, Tensor]:
        """The examples of these indices and their targets, on the device."""
        return self._sent(self._inputs[indices]), self._sent(self._targets[indices])

    def _sent(self, values: Tensor) -> Tensor:
        if self._device.type != "cuda":
            return values
        return values.pin_memory().to(self._device, non_blocking=True)
