from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.optim import SGD
from torch.optim.lr_scheduler import CosineAnnealingLR, ReduceLROnPlateau, StepLR

from trainer.recipes.hyperparameters import ClassificationHyperparameters
from trainer.recipes.schedule import create_schedule

STEPS_PER_EPOCH = 5
PEAK = 0.5


def optimizer() -> SGD:
    return SGD([torch.nn.Parameter(torch.zeros(1))], lr=PEAK)


def rates(epochs: int, losses: list[float] | None = None, **values: Any) -> list[float]:
    """The learning rate of each step."""
    parsed = ClassificationHyperparameters.parse(
        {"learning_rate": PEAK, "epochs": epochs, **values}
    )
    optimized = optimizer()
    schedule = create_schedule(optimized, parsed, STEPS_PER_EPOCH)
    seen = []
    for epoch in range(epochs):
        for _ in range(STEPS_PER_EPOCH):
            seen.append(optimized.param_groups[0]["lr"])
            optimized.step()
            schedule.after_step()
        schedule.after_epoch(losses[epoch] if losses else 1.0)
    return seen


def test_constant() -> None:
    assert rates(2, schedule="constant") == [PEAK] * 10


def test_cosine_and_step_are_torchs() -> None:
    for schedule, values, create in (
        ("cosine", {}, lambda o: CosineAnnealingLR(o, T_max=20)),
        ("step", {"decay_epochs": 2, "decay_factor": 0.3}, lambda o: StepLR(o, 10, 0.3)),
    ):
        optimized = optimizer()
        theirs = create(optimized)
        expected = []
        for _ in range(20):
            expected.append(optimized.param_groups[0]["lr"])
            optimized.step()
            theirs.step()
        assert rates(4, schedule=schedule, **values) == pytest.approx(expected, rel=1e-9)


def test_plateau_is_torchs() -> None:
    losses = [1.0, 0.9, 0.95, 0.92, 0.91, 0.8, 0.8, 0.8, 0.8, 0.8]
    optimized = optimizer()
    theirs = ReduceLROnPlateau(optimized, factor=0.5, patience=2)  # which counts from 0
    expected = []
    for loss in losses:
        expected += [optimized.param_groups[0]["lr"]] * STEPS_PER_EPOCH
        theirs.step(loss)
    ours = rates(10, losses, schedule="plateau", decay_epochs=3, decay_factor=0.5)
    assert ours == pytest.approx(expected)
    assert len(set(ours)) == 3


@pytest.mark.parametrize("schedule", ["cosine", "step", "plateau", "constant"])
def test_warmup_rises_linearly_to_the_peak(schedule: str) -> None:
    seen = rates(10, schedule=schedule, warmup=0.2)
    assert seen[:11] == pytest.approx([PEAK * (step + 1) / 11 for step in range(11)])
    assert max(seen) == pytest.approx(PEAK)


def test_cosine_after_a_warmup_ends_near_nothing() -> None:
    assert rates(10, schedule="cosine", warmup=0.2)[-1] < 0.01 * PEAK


def test_warmup_may_take_all_steps() -> None:
    assert all(math.isfinite(rate) for rate in rates(1, schedule="cosine", warmup=1))


def test_one_cycle_rises_and_falls() -> None:
    seen = rates(4)
    peak = seen.index(max(seen))
    assert max(seen) == pytest.approx(PEAK, rel=0.05)
    assert seen[:peak] == sorted(seen[:peak])
    assert seen[peak:] == sorted(seen[peak:], reverse=True)
    assert seen[-1] < 1e-3 * PEAK
