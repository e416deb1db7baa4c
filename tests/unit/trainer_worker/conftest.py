from __future__ import annotations

import shlex
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from trainer.settings import Settings
from trainer.testing import WorkerProcess
from wintergarden.jobs import Jobs
from wintergarden.jobs.testing import ValkeyServer

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
        }
    )


@pytest.fixture
def start_worker(settings: Settings, tmp_path: Path) -> Iterator[Callable[..., WorkerProcess]]:
    started: list[WorkerProcess] = []

    def start(name: str = "worker-1", used: Settings = settings) -> WorkerProcess:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = int(free.getsockname()[1])
        worker = WorkerProcess(used, name, port, tmp_path / f"{name}.log")
        started.append(worker)
        return worker

    yield start
    for worker in started:
        if worker.process.poll() is None:
            worker.signal(signal.SIGCONT)
            worker.signal(signal.SIGKILL)
        worker.process.wait()
