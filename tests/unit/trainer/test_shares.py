"""However a batch is shared out and computed in parts, its gradient is the same."""

from __future__ import annotations

from functools import cache

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.data.dataset import Dataset
from trainer.data.registry import load
from trainer.recipes.learning import Learner
from trainer.recipes.ranks import Ranks
from trainer.recipes.run import TrainingRun
from trainer.recipes.trained import prepare
from trainer.zoo.registry import find


@cache
def digits() -> Dataset:
    return load("digits")


def gradient(indices: torch.Tensor, ranks: Ranks, accumulate: int) -> tuple[torch.Tensor, float]:
    """What a rank adds to the gradient, and to the epoch's loss."""
    architecture = find("lenet5")
    parsed = architecture.hyperparameters.parse(
        {"accumulate": accumulate, "optimizer": "sgd", "label_smoothing": 0.1}
    )
    trained = prepare(architecture, parsed, digits(), 0)
    run = TrainingRun(trained.network, parsed, batches_per_epoch=20)
    Learner(run, parsed, digits(), trained.preprocessing, trained.task, seed=7, ranks=ranks).learn(
        indices
    )
    grads = [p.grad.flatten() for p in trained.network.parameters() if p.grad is not None]
    return torch.cat(grads), float(run.loss_sum)


@given(st.integers(1, 24), st.integers(2, 4), st.integers(1, 5))
@settings(deadline=None, max_examples=15)
def test_the_mean_over_ranks_is_the_batchs_gradient(size: int, count: int, accumulate: int) -> None:
    indices = torch.randperm(500)[:size]
    whole, loss = gradient(indices, Ranks(), 1)
    shares = []
    for rank in range(count):
        ranks = Ranks()
        ranks.rank, ranks.count = rank, count
        shares.append(gradient(indices, ranks, accumulate))
    mean = torch.stack([share for share, _ in shares]).mean(dim=0)
    torch.testing.assert_close(mean, whole, atol=1e-5, rtol=1e-3)
    torch.testing.assert_close(sum(loss for _, loss in shares), loss, atol=1e-4, rtol=1e-5)
