from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from wintergarden.jobs import Attempt, Jobs, TrainingSpec
from wintergarden.jobs.testing import ValkeyServer

LEASE_S = 30.0


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
def spec() -> TrainingSpec:
    return TrainingSpec("mlp", "wine", "mlp-wine", {"epochs": 3, "layers": [4, 4]}, seed=7)


@pytest.fixture
def start(jobs: Jobs, spec: TrainingSpec) -> Callable[..., Attempt]:
    """Submits a job and claims it."""

    def submit_and_claim(lease_s: float = LEASE_S) -> Attempt:
        attempt = jobs.claim(jobs.submit(spec).id, "worker-1", lease_s)
        assert attempt
        return attempt

    return submit_and_claim
