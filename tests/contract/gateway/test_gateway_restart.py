"""A gateway that is killed and comes back while jobs are submitted and watched through it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.contract.gateway.catalogue import CATALOGUE
from trainer.testing import eventually
from wintergarden.client import Client, Event, MetricsReported, StateChanged
from wintergarden.errors import Unavailable
from wintergarden.jobs import Jobs
from wintergarden.jobs import MetricsReported as Metrics
from wintergarden.jobs.testing import ValkeyServer, free_port

_PATIENCE_S = 60.0
_SUBMISSIONS = 100


class GatewayProcess:
    def __init__(self, redis_url: str, folder: Path) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        self._environment = os.environ | {
            "GATEWAY_ADDRESS": self.address,
            "GATEWAY_METRICS_ADDRESS": "127.0.0.1:0",
            "GATEWAY_STORE_URI": str(folder / "store"),
            "GATEWAY_REDIS_URL": redis_url,
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "gateway"], env=self._environment, stderr=subprocess.DEVNULL
        )

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()


@pytest.fixture
def jobs(valkey: ValkeyServer) -> Iterator[Jobs]:
    valkey.flush()
    with Jobs(valkey.url()) as jobs:
        jobs.publish_catalogue(CATALOGUE)
        yield jobs


@pytest.fixture
def gateway(valkey: ValkeyServer, tmp_path: Path) -> Iterator[GatewayProcess]:
    process = GatewayProcess(valkey.url(), tmp_path)
    process.start()
    yield process
    process.kill()


def test_a_watcher_sees_every_event_once_through_restarts(
    gateway: GatewayProcess, jobs: Jobs
) -> None:
    seen: list[Event] = []

    def watch() -> None:
        with Client(gateway.address, retry_for_s=_PATIENCE_S) as client:
            seen.extend(client.jobs.watch(job.id))

    with Client(gateway.address, retry_for_s=_PATIENCE_S) as client:
        job = client.train("lenet5", "digits").job
    watcher = threading.Thread(target=watch)
    watcher.start()
    attempt = jobs.claim(job.id, "worker-1", 600.0)
    assert attempt
    for restart in range(2):
        for step in range(20):
            attempt.emit([(Metrics({"step": float(20 * restart + step)}), step)])
            time.sleep(0.005)
        gateway.kill()
        attempt.emit([(Metrics({"step": -1.0 - restart}), 0)])  # while nobody can be told
        gateway.start()
        eventually(lambda: _is_up(gateway.address), _PATIENCE_S)
    attempt.succeed("lenet5-digits", 1, {})
    watcher.join(_PATIENCE_S)
    assert not watcher.is_alive()
    assert [event.sequence for event in seen] == list(range(1, len(seen) + 1))
    steps = [event.values["step"] for event in seen if isinstance(event, MetricsReported)]
    expected = [s for r in range(2) for s in (*range(20 * r, 20 * r + 20), -1 - r)]
    assert steps == [float(step) for step in expected]
    assert isinstance(seen[-1], StateChanged)
    assert seen[-1].state.is_final


def test_a_submission_repeated_after_a_lost_answer_is_one_job(
    gateway: GatewayProcess, jobs: Jobs
) -> None:
    """A kill at each tenth submission: how long a start takes is the machine's affair."""
    ids: list[str] = []

    def submit() -> None:
        with Client(gateway.address, retry_for_s=_PATIENCE_S) as client:
            for seed in range(_SUBMISSIONS):
                ids.append(client.train("lenet5", "digits", seed=seed).id)

    def has_got_to(accepted: int) -> Callable[[], bool]:
        return lambda: len(ids) >= accepted or not submitter.is_alive()

    submitter = threading.Thread(target=submit)
    eventually(lambda: _is_up(gateway.address), _PATIENCE_S)
    submitter.start()
    for accepted in range(0, _SUBMISSIONS, 10):
        eventually(has_got_to(accepted + 1), _PATIENCE_S)
        time.sleep(0.0007 * accepted)  # at another moment of a submission each time
        gateway.kill()
        gateway.start()
    submitter.join(2 * _PATIENCE_S)
    assert not submitter.is_alive()
    assert len(set(ids)) == _SUBMISSIONS
    assert {job.id for job in jobs.list(limit=1000)} == set(ids)


def _is_up(address: str) -> bool:
    try:
        with Client(address, retry_for_s=0) as client:
            return bool(client.architectures())
    except Unavailable:
        return False
