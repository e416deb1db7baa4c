from __future__ import annotations

import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from trainer.duties import TrainerDuties
from trainer.settings import Settings
from trainer.testing import WorkerProcess, scripted
from wintergarden.jobs import JobRecord, Jobs
from wintergarden.jobs.testing import ValkeyServer, free_port
from wintergarden.worker.standby import Standby
from wintergarden.worker.supervisor import Supervision

SCRIPTED = f"{sys.executable} {shlex.quote(str(Path(__file__).with_name('scripted_child.py')))}"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    with ValkeyServer(Path(tmp_path_factory.mktemp("valkey"))) as running:
        yield running


@pytest.fixture
def jobs(server: ValkeyServer) -> Iterator[Jobs]:
    server.flush()
    with Jobs(server.url()) as open_jobs:
        yield open_jobs


@pytest.fixture
def store(tmp_path: Path) -> Path:
    directory = tmp_path / "store"
    directory.mkdir()
    return directory


@pytest.fixture
def settings(server: ValkeyServer, store: Path, tmp_path: Path) -> Settings:
    return Settings.model_validate(
        {
            "redis_url": server.url(),
            "store_uri": str(store),
            "work_dir": tmp_path / "scratch",
            "lease_s": 1.5,
            "rounds_s": 0.3,
            "grace_s": 1.0,
            "child_command": SCRIPTED,
            "warm": False,
        }
    )


@pytest.fixture
def supervise(jobs: Jobs, settings: Settings) -> Callable[..., JobRecord]:
    """Submits, claims and supervises a job to the end of the attempt.

    Among what the job's script says may be settings of the worker. Given a job, it is that one
    which is claimed, for its next attempt.
    """

    def run(
        stopping: threading.Event | None = None, job: JobRecord | None = None, **script: Any
    ) -> JobRecord:
        limits = {name: script.pop(name) for name in [*script] if name in Settings.model_fields}
        job = job or jobs.submit(scripted(**script))
        used = settings.model_copy(update=limits)
        attempt = jobs.claim(job.id, "worker-1", used.lease_s)
        assert attempt
        standby = Standby(used.child_arguments, is_warm=False)
        is_stopping = stopping or threading.Event()
        duties = TrainerDuties(used, jobs)
        Supervision(attempt, used, standby, duties, is_stopping=is_stopping).run()
        return jobs.get(job.id)

    return run


@pytest.fixture
def start_worker(settings: Settings, tmp_path: Path) -> Iterator[Callable[..., WorkerProcess]]:
    started: list[WorkerProcess] = []

    def start(name: str = "worker-1", used: Settings = settings) -> WorkerProcess:
        worker = WorkerProcess(used, name, free_port(), tmp_path / f"{name}.log")
        started.append(worker)
        return worker

    yield start
    for worker in started:
        if worker.process.poll() is None:
            worker.signal(signal.SIGCONT)
            worker.signal(signal.SIGKILL)
        worker.process.wait()
