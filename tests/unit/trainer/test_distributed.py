"""Several processes that train one network, really: gloo between processes of this machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from trainer.data.registry import load
from trainer.distributed import joined
from trainer.recipes.ranks import Ranks
from trainer.recipes.supervised import train
from trainer.recipes.trained import Trained
from trainer.recipes.watcher import Checkpointable, Stopped, Watcher
from trainer.state_file import pack, unpack
from trainer.testing import eventually, has_ended
from trainer.zoo.registry import find
from wintergarden.errors import InvalidArgument, Unavailable

CPU = torch.device("cpu")


def carry_out(
    processes: int,
    watcher: Watcher | None = None,
    state: dict[str, Any] | None = None,
    *,
    architecture: str = "lenet5",
    dataset: str = "digits",
    **hyperparameters: Any,
) -> Trained:
    # 1 197 examples: a last batch of 173, which is odd.
    values = {"epochs": 1, "batch_size": 256, "learning_rate": 2e-3, **hyperparameters}
    order = {
        "architecture": architecture,
        "dataset": dataset,
        "store_uri": "/nowhere",
        "device": "cpu",
        "seed": 3,
        "hyperparameters": values,
    }
    found = find(architecture)
    parsed = found.hyperparameters.parse(values)
    with joined(json.dumps(order), processes, CPU) as ranks:
        return train(found, parsed, load(dataset), 3, watcher, state=state, ranks=ranks)


def parameters(trained: Trained) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in trained.network.parameters()])


def others() -> list[psutil.Process]:
    return [
        child
        for child in psutil.Process().children()
        if "trainer.distributed" in " ".join(child.cmdline())
    ]


@pytest.fixture(autouse=True)
def no_process_is_left() -> Iterator[None]:
    yield
    assert not others()


def test_two_processes_learn_what_one_learns() -> None:
    ranks: list[int] = []
    alone = carry_out(1, accumulate=2)
    together = carry_out(2, Watcher(lambda *_: ranks.append(len(others()))), accumulate=2)
    assert set(ranks) == {1}
    torch.testing.assert_close(parameters(together), parameters(alone), atol=1e-5, rtol=0)
    for name in ("train_loss", "validation_loss", "validation_accuracy"):
        assert together.history[0][name] == pytest.approx(alone.history[0][name], abs=1e-5)


def test_three_stop_at_the_same_step_and_go_on_as_if_they_had_not() -> None:
    # Three, since the sum of two is the same in either order.
    undisturbed = until_step(7)
    assert sorted(undisturbed) == list(range(1, 8))
    resumed = until_step(7, undisturbed[2])
    assert sorted(resumed) == list(range(3, 8))
    for step in resumed:
        expected = undisturbed[step]["network"]
        for name, tensor in resumed[step]["network"].items():
            assert torch.equal(tensor, expected[name]), (step, name)


def until_step(last: int, state: dict[str, Any] | None = None) -> dict[int, dict[str, Any]]:
    """What three ranks have learnt after each step until they are stopped."""
    states: dict[int, dict[str, Any]] = {}
    ended: list[bool] = []
    processes: list[psutil.Process] = []

    def on_step(step: int, _: int) -> None:
        processes[:] = others()
        if step == last:
            raise Stopped("paused")

    def on_checkpoint(training: Checkpointable, is_last: bool) -> None:
        states[training.step] = unpack(pack(training.state_dict()))[1]
        ended.append(is_last)

    with pytest.raises(Stopped, match="paused"):
        carry_out(
            3,
            Watcher(on_step, on_checkpoint=on_checkpoint),
            state,
            architecture="mlp",
            dataset="wine",
            batch_size=24,  # the last one of an epoch is shorter
            epochs=2,
        )
    assert len(processes) == 2
    assert ended.index(True) == len(ended) - 1
    return states


def test_the_death_of_one_ends_all() -> None:
    def on_step(step: int, _: int) -> None:
        if step == 2:
            os.kill(others()[0].pid, signal.SIGKILL)

    with pytest.raises(Unavailable, match="rank 1 of 2 was killed by SIGKILL, and the training"):
        carry_out(2, Watcher(on_step))


def test_a_rank_that_cannot_start_is_named() -> None:
    with (
        pytest.raises(Unavailable, match="rank 1 of 2 exited with 1 at its start"),
        joined('{"architecture": "lenet5"}', 2, CPU),
    ):
        pass


def test_a_batch_that_does_not_divide_is_refused() -> None:
    ranks = Ranks()
    ranks.count = 3
    architecture = find("lenet5")
    parsed = architecture.hyperparameters.parse({"batch_size": 256})
    with pytest.raises(InvalidArgument, match="got 256 for 3 processes; allowed is a multiple"):
        train(architecture, parsed, load("digits"), 0, ranks=ranks)


def test_the_others_end_with_the_first(tmp_path: Path) -> None:
    order = {
        "architecture": "mlp",
        "dataset": "wine",
        "hyperparameters": {"epochs": 10_000},
        "store_uri": str(tmp_path),
        "device": "cpu",
        "processes": 2,
        "tensorboard_dir": str(tmp_path / "curves"),
    }
    command = [sys.executable, "-m", "trainer.child", "--alone", json.dumps(order)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as first:
        try:
            assert first.stdout is not None
            for line in first.stdout:
                message = json.loads(line)
                if message["type"] == "metrics" and message["step"] > 4:
                    break
            (second,) = psutil.Process(first.pid).children()
            assert os.getpgid(second.pid) == os.getpgid(first.pid)
        finally:
            first.kill()
    eventually(lambda: has_ended(second.pid), 60)
    assert len(list((tmp_path / "curves/mlp-wine/alone").iterdir())) == 1, "rank 0's alone"
