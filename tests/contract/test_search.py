"""A search as its user sees it: a real worker with one slot, real trainings, one model."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainer.settings import Settings
from trainer.testing import WorkerProcess, ended
from wintergarden.jobs import Jobs, JobState
from wintergarden.jobs.records import SearchSpec
from wintergarden.jobs.testing import ValkeyServer
from wintergarden.store import open_store

PATIENCE_S = 240.0


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ValkeyServer]:
    directory = tmp_path / "valkey"
    directory.mkdir()
    with ValkeyServer(directory) as running:
        yield running


@pytest.fixture
def worker(server: ValkeyServer, tmp_path: Path) -> Iterator[WorkerProcess]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    settings = Settings.model_validate(
        {
            "redis_url": server.url(),
            "store_uri": str(tmp_path / "store"),
            "work_dir": tmp_path / "scratch",
            "concurrency": 1,
        }
    )
    started = WorkerProcess(settings, "worker", port, tmp_path / "worker.log")
    yield started
    started.process.terminate()
    started.process.wait()


@pytest.mark.usefixtures("worker")
def test_a_worker_with_one_slot_carries_a_search_out(server: ValkeyServer, tmp_path: Path) -> None:
    spec = SearchSpec(
        training={
            "architecture": "mlp",
            "dataset": "wine",
            "model": "wine",
            "hyperparameters": {"epochs": 3},
        },
        space={"learning_rate": {"type": "float", "low": 1e-4, "high": 0.1, "log": True}},
        trials=2,
        promote=["test_accuracy>=0"],
    )
    with Jobs(server.url()) as jobs:
        search = ended(jobs, jobs.submit(spec).id, PATIENCE_S)
        trials = jobs.list(parent=search.id)
    assert (search.state, search.reason) == (JobState.SUCCEEDED, "")
    assert [trial.state for trial in trials] == [JobState.SUCCEEDED] * 2
    store = open_store(str(tmp_path / "store"))
    assert store.published() == {"wine": [1]}
    assert store.labels("wine").labels == {"stable": 1}
    best = max(trials, key=lambda trial: trial.metrics["validation_accuracy"])
    manifest = store.read_manifest("wine", 1)
    assert manifest.metrics["validation_accuracy"] == best.metrics["validation_accuracy"]
    assert manifest.lineage.job_id == search.id
    table = json.loads(store.fetch("wine", 1).read("search/trials.json"))
    assert [row["job_id"] for row in table] == [trial.id for trial in trials]
