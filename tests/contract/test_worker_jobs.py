"""Jobs as their user sees them: a real worker, real processes, a real store; data to model."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from trainer.settings import Settings
from trainer.testing import WorkerProcess, bodies, ended, eventually, states_of
from wintergarden.jobs import Jobs, JobState, LogWritten, PictureShown, TrainingSpec
from wintergarden.jobs.records import PrepareSpec
from wintergarden.jobs.testing import ValkeyServer, free_port
from wintergarden.store import open_store
from wintergarden.store.datasets import open_datasets
from wintergarden.store.job_files import open_job_files

PATIENCE_S = 120.0


@pytest.fixture
def store(tmp_path: Path) -> str:
    return str(tmp_path / "store")


@pytest.fixture
def jobs(tmp_path: Path, store: str) -> Iterator[Jobs]:
    """Of a deployment with one worker."""
    directory = tmp_path / "valkey"
    directory.mkdir()
    with ValkeyServer(directory) as server, Jobs(server.url()) as opened:
        settings = Settings.model_validate(
            {"redis_url": server.url(), "store_uri": store, "work_dir": tmp_path / "scratch"}
        )
        worker = WorkerProcess(settings, "worker", free_port(), tmp_path / "worker.log")
        yield opened
        worker.process.terminate()
        worker.process.wait()


def upload(store: str, directory: Path) -> str:
    """Two clouds of points, as CSV; the file's digest."""
    rng = np.random.default_rng(0)
    rows = ["width,height,species"]
    for species, middle in (("rose", 0.0), ("tulip", 3.0)):
        rows += [f"{w:.4f},{h:.4f},{species}" for w, h in rng.normal(middle, 1.0, (100, 2))]
    path = directory / "flowers.csv"
    path.write_text("\n".join(rows) + "\n")
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    open_datasets(store).uploads.keep(path, digest)
    return digest


def test_data_is_prepared_and_trained_on_and_a_pause_costs_nothing(
    jobs: Jobs, store: str, tmp_path: Path
) -> None:
    options = {"label": "species"}
    prepared = ended(
        jobs, jobs.submit(PrepareSpec("flowers", upload(store, tmp_path), "csv", options)).id,
        PATIENCE_S,
    )  # fmt: skip
    assert prepared.state == JobState.SUCCEEDED, prepared.reason
    assert prepared.metrics["examples"] == 200

    spec = TrainingSpec(
        "mlp", "flowers", "flowers", {"epochs": 3000, "hidden_sizes": [4]},
        promote=("test_accuracy>=0.5",),
    )  # fmt: skip
    job = jobs.submit(spec)
    eventually(lambda: jobs.get(job.id).phase == "train", PATIENCE_S)
    eventually(lambda: jobs.get(job.id).progress > 0.05, PATIENCE_S)
    jobs.pause(job.id)
    eventually(lambda: jobs.get(job.id).state == JobState.PAUSED, PATIENCE_S)
    paused = jobs.get(job.id)
    assert paused.checkpoint_step > 0
    jobs.resume(job.id)
    finished = ended(jobs, job.id, PATIENCE_S)
    assert finished.state == JobState.SUCCEEDED, finished.reason
    assert states_of(jobs, job.id) == [
        "QUEUED", "RUNNING", "PAUSED", "QUEUED", "RUNNING", "SUCCEEDED"
    ]  # fmt: skip
    said = [log.text for log in bodies(jobs, job, LogWritten)]
    assert any(f"going on after step {paused.checkpoint_step} of" in text for text in said)
    models = open_store(store)
    assert models.list_versions("flowers") == [finished.model_version]
    assert models.labels("flowers").labels == {"stable": finished.model_version}
    files = open_job_files(store, job.id)
    eventually(lambda: len(files.names()) == 4)  # checkpoints have gone, the events have come
    shown = [picture.name for picture in bodies(jobs, job, PictureShown)]
    *pictures, archive = files.names()
    assert sorted(shown) == pictures
    assert [name.partition("/")[2] for name in pictures] == [
        "confusion.png", "learning-curves.png", "reliability.png"
    ]  # fmt: skip
    assert all(files.read(name, 1 << 20).startswith(b"\x89PNG") for name in pictures)
    assert archive.startswith("events-")
