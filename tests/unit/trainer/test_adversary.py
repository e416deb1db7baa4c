"""Adversarial training: where examples are moved, and what a network gains by it."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from trainer.data.dataset import Dataset
from trainer.data.registry import load
from trainer.recipes.adversary import Adversary
from trainer.recipes.supervised import train
from trainer.recipes.trained import Trained
from trainer.zoo.registry import find
from wintergarden.errors import InvalidArgument


@pytest.mark.parametrize("steps", [1, 5])
def test_moves_against_the_network_within_ball_and_range(steps: int) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))
    network.train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    inputs, classes = torch.rand(10, 6), torch.randint(0, 3, (10,))

    def loss(moved: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(network(moved), classes, reduction="sum")

    adversary = Adversary(0.1, steps, (0.0, 1.0))
    starts = adversary.starts(10, (6,), torch.Generator().manual_seed(0))
    moved = adversary.move(network, loss, inputs, starts)
    assert (moved - inputs).abs().max() <= 0.1 + 1e-7
    assert moved.min() >= 0
    assert moved.max() <= 1
    assert network.training
    assert all(p.grad is None for p in network.parameters())
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name  # running statistics too
    network.eval()
    assert loss(moved) > loss(inputs + starts.clamp(-0.1, 0.1))


def test_what_is_frozen_does_not_train_afterwards() -> None:
    """A part in evaluation mode, of a network that trains, is so again."""
    frozen, free = nn.BatchNorm1d(4).eval(), nn.BatchNorm1d(4)
    network = nn.Sequential(frozen, free, nn.Linear(4, 2))
    adversary, inputs = Adversary(0.1, 2, None), torch.rand(8, 4)
    before = [buffer.clone() for buffer in network.buffers()]
    adversary.move(network, lambda x: network(x).square().sum(), inputs, torch.zeros(8, 4))
    assert [module.training for module in network] == [False, True, True]
    assert network.training
    assert all(torch.equal(a, b) for a, b in zip(before, network.buffers(), strict=True))


def test_starts_do_not_depend_on_how_a_batch_is_shared_out() -> None:
    adversary = Adversary(0.3, 1, None)
    starts = adversary.starts(1000, (4,), torch.Generator().manual_seed(1))
    assert starts.abs().max() <= 0.3
    assert starts.abs().mean() == pytest.approx(0.15, rel=0.05)


def train_lenet(dataset: Dataset, **values: Any) -> Trained:
    architecture = find("lenet5")
    given = {"epochs": 3, "batch_size": 64, "augment": False, "dropout": 0.0, **values}
    return train(architecture, architecture.hyperparameters.parse(given), dataset, 0)


def robust_accuracy(trained: Trained, dataset: Dataset, epsilon: float) -> float:
    """Under 10 steps of PGD, on examples held out."""
    inputs = torch.from_numpy(dataset.test.inputs)
    classes = torch.from_numpy(dataset.test.labels)
    network = nn.Sequential(trained.preprocessing, trained.network).eval()
    adversary = Adversary(epsilon, 10, dataset.info.value_range)
    starts = adversary.starts(
        len(inputs), tuple(inputs.shape[1:]), torch.Generator().manual_seed(0)
    )
    moved = adversary.move(
        network,
        lambda x: nn.functional.cross_entropy(network(x), classes, reduction="sum"),
        inputs,
        starts,
    )
    return float((network(moved).argmax(1) == classes).float().mean())


def test_a_network_trained_on_moved_digits_holds_where_another_falls() -> None:
    digits = load("digits")
    plain, hardened = train_lenet(digits), train_lenet(digits, adversarial_epsilon=0.1)
    falls, holds = (robust_accuracy(trained, digits, 0.1) for trained in (plain, hardened))
    assert holds >= falls + 0.1


def test_parts_of_moved_images_are_those_of_the_batch() -> None:
    digits = load("digits")
    common = {"epochs": 1, "batch_size": 400, "optimizer": "sgd", "learning_rate": 0.02}
    whole, parts = (
        train_lenet(digits, **common, adversarial_epsilon=0.1, **more)
        for more in ({}, {"accumulate": 4})
    )
    for one, other in zip(whole.network.parameters(), parts.network.parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=2e-4, rtol=1e-3)


def test_refusals() -> None:
    parse = find("lenet5").hyperparameters.parse
    with pytest.raises(InvalidArgument, match="adversarial_epsilon"):
        parse({"adversarial_epsilon": -0.1})
    with pytest.raises(InvalidArgument, match="adversarial_steps"):
        parse({"adversarial_steps": 0})
