"""One optimisation step: from the indices of a batch to new weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from trainer.data.dataset import Dataset
from trainer.recipes.adversary import Adversary
from trainer.recipes.augmentation import draw_affine, warped
from trainer.recipes.device import autocast_dtype
from trainer.recipes.examples import create_examples
from trainer.recipes.hyperparameters import (
    AugmentationHyperparameters,
    ImageClassificationHyperparameters,
    SupervisedHyperparameters,
)
from trainer.recipes.randomness import derived_seed, generator_of, seed_device
from trainer.recipes.ranks import Ranks
from trainer.recipes.run import TrainingRun
from trainer.recipes.task import Answer, Carried, Task


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
        self._examples = create_examples(dataset.train, task, dataset.info, self._device)
        self._replica = ranks.replicate(run.network)
        self._parameters = list(run.network.parameters())
        self._dtype = autocast_dtype(hyperparameters.precision, self._device)
        self._is_augmented = (
            isinstance(hyperparameters, AugmentationHyperparameters) and hyperparameters.augment
        )
        self._adversary: Adversary | None = None
        if (
            isinstance(hyperparameters, ImageClassificationHyperparameters)
            and hyperparameters.adversarial_epsilon
        ):
            self._adversary = Adversary(
                hyperparameters.adversarial_epsilon,
                hyperparameters.adversarial_steps,
                dataset.info.value_range,
            )

    def batches(self, epoch: int) -> Sequence[Tensor]:
        """The indices of the examples of each batch of an epoch; always as many batches."""
        generator = generator_of(self._seed, "order", epoch)
        return self._examples.batches(self._hyperparameters.batch_size, generator)

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
        carried: list[Carried] = []
        loss_sum = torch.zeros((), dtype=torch.float64, device=self._device)
        for number, part in enumerate(parts, start=1):
            with ranks.local(self._replica) if number < len(parts) else nullcontext():
                loss, taken_along = self._loss(
                    indices[part],
                    None if maps is None else maps[part],
                    None if starts is None else starts[part],
                    tuple(rows[part] for rows in run.carried),
                )
                loss = weight * loss
                # Gradients become the ranks' mean: their sum is what belongs to the batch's mean.
                run.scaler.scale(loss * (ranks.count / len(indices))).backward()
            loss_sum += loss.detach()
            carried.append(taken_along)
        run.carried = tuple(torch.cat(rows) for rows in zip(*carried, strict=True))
        self._step()
        run.end_step(loss_sum)

    def _loss(
        self, indices: Tensor, maps: Tensor | None, starts: Tensor | None, carried: Carried
    ) -> tuple[Tensor, Carried]:
        """Summed over the examples; auxiliary heads' is added, weighted (Szegedy 2015, §5)."""
        inputs, targets = self._examples.take(indices)
        if maps is not None:
            maps = maps.to(self._device, non_blocking=True)
            inputs, targets = warped(inputs, maps), self._task.warped(targets, maps)
        if self._adversary is not None and starts is not None:
            starts = starts.to(self._device, non_blocking=True)
            inputs = self._adversary.move(
                self._run.network,
                lambda moved: self._judged(self._ask(self._run.network, moved, targets), targets),
                inputs,
                starts,
            )
        answer = self._ask(self._replica, inputs, targets, carried)
        loss = self._judged(answer, targets)
        for other in answer.auxiliary:
            loss = loss + self._auxiliary_weight * self._judge(other.float(), targets)
        if answer.penalty is not None:
            loss = loss + answer.penalty
        return loss, answer.carried

    def _judged(self, answer: Answer, targets: Tensor) -> Tensor:
        return self._judge(answer.main.float(), targets)

    def _ask(
        self, network: nn.Module, inputs: Tensor, targets: Tensor, carried: Carried = ()
    ) -> Answer:
        """What the network says of raw inputs."""
        inputs = self._preprocessing(inputs)
        with torch.autocast(self._device.type, self._dtype, enabled=self._dtype is not None):
            return self._task.ask(network, inputs, targets, carried)

    def _step(self) -> None:
        run = self._run
        if self._hyperparameters.clip_norm:
            run.scaler.unscale_(run.optimizer)
            nn.utils.clip_grad_norm_(self._parameters, self._hyperparameters.clip_norm)
        run.scaler.step(run.optimizer)
        run.scaler.update()
        run.l1.step()
