from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from trainer import tensorboard as module
from trainer.data.registry import load
from trainer.recipes.supervised import train
from trainer.recipes.watcher import Watcher
from trainer.settings import Settings
from trainer.tensorboard import curves
from trainer.zoo.registry import find
from wintergarden.errors import Unsupported


def read(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """As TensorBoard does."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder)).Reload()
    return {
        name: [(event.step, event.value) for event in events.Scalars(name)]
        for name in events.Tags()["scalars"]
    }


def test_every_metric_is_a_curve(tmp_path: Path) -> None:
    architecture = find("mlp")
    hyperparameters = architecture.hyperparameters.parse({"epochs": 3, "batch_size": 16})
    with curves(tmp_path, pytest.fail) as on_epoch:
        trained = train(architecture, hyperparameters, load("wine"), 0, Watcher(on_epoch=on_epoch))
    seen = read(tmp_path)
    assert set(seen) == set(trained.history[0])
    assert [step for step, _ in seen["train_loss"]] == [8, 16, 24]
    assert [value for _, value in seen["train_loss"]] == pytest.approx(
        [row["train_loss"] for row in trained.history], rel=1e-6
    )


def test_what_is_trained_again_replaces_what_was(tmp_path: Path) -> None:
    for steps, value in (((8, 16, 24), 1.0), ((16, 24, 32), 2.0)):
        with curves(tmp_path, pytest.fail) as on_epoch:
            for step in steps:
                on_epoch(step, {"loss": value})
    assert read(tmp_path)["loss"] == [(8, 1.0), (16, 2.0), (24, 2.0), (32, 2.0)]


def test_a_folder_that_cannot_be_written_is_one_warning(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    warned: list[str] = []
    with curves(tmp_path / "file" / "run", warned.append) as on_epoch:
        on_epoch(8, {"loss": 1.0})
        on_epoch(16, {"loss": 1.0})
    assert len(warned) == 1
    assert "no more curves for TensorBoard" in warned[0]


def test_without_the_package_it_is_refused_with_the_cure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with (
        pytest.raises(Unsupported, match=r"pip install 'wintergarden\[tensorboard\]', or leave"),
        curves(tmp_path, pytest.fail),
    ):
        pass


def test_a_worker_without_the_package_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def worker() -> Settings:
        return Settings(
            redis_url=SecretStr("redis://127.0.0.1:1/0"),
            store_uri=str(tmp_path),
            tensorboard_dir=tmp_path,
        )

    assert worker().tensorboard_dir == tmp_path
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(ValidationError, match=r"tensorboard_dir\n.*pip install 'wintergarden"):
        worker()
