"""Many jobs at once: all are accepted, none is lost, and the queue keeps their order."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.contract.gateway.catalogue import CATALOGUE
from wintergarden.client import Client, JobState
from wintergarden.errors import Unavailable
from wintergarden.jobs import Jobs
from wintergarden.jobs.testing import ValkeyServer, free_port

_CLIENTS = 8

pytestmark = pytest.mark.timeout(600)


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[ValkeyServer]:
    (tmp_path / "redis").mkdir()
    with ValkeyServer(tmp_path / "redis") as server:
        yield server


@pytest.fixture
def address(redis: ValkeyServer, tmp_path: Path) -> Iterator[str]:
    where = f"127.0.0.1:{free_port()}"
    with Jobs(redis.url()) as jobs:
        jobs.publish_catalogue(CATALOGUE)
    environment = os.environ | {
        "GATEWAY_ADDRESS": where,
        "GATEWAY_METRICS_ADDRESS": "127.0.0.1:0",
        "GATEWAY_STORE_URI": str(tmp_path / "store"),
        "GATEWAY_REDIS_URL": redis.url(),
    }
    gateway = subprocess.Popen(
        [sys.executable, "-m", "gateway"], env=environment, stderr=subprocess.DEVNULL
    )
    until = time.monotonic() + 60
    while True:
        try:
            with Client(where, retry_for_s=0) as client:
                client.architectures()
                break
        except Unavailable:
            assert time.monotonic() < until
            time.sleep(0.1)
    yield where
    gateway.kill()
    gateway.wait()


def test_a_rush_of_jobs(
    address: str,
    redis: ValkeyServer,
    sizes: SimpleNamespace,
    record_property: Callable[[str, object], None],
) -> None:
    """As many as `size.jobs` within `size.seconds`, evenly, from several clients."""
    size = sizes.submission
    began = time.monotonic() + 0.5
    took_s: dict[int, float] = {}
    ids: dict[int, str] = {}

    def submit(first: int) -> None:
        with Client(address) as client:
            for number in range(first, size.jobs, _CLIENTS):
                due = began + number * size.seconds / size.jobs
                time.sleep(max(0.0, due - time.monotonic()))
                started = time.monotonic()
                handle = client.train("lenet5", "digits", seed=number, request_id=f"rush-{number}")
                took_s[number] = time.monotonic() - started
                ids[number] = handle.id

    threads = [threading.Thread(target=submit, args=(first,)) for first in range(_CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds = time.monotonic() - began
    took_ms = sorted(1e3 * s for s in took_s.values())
    told = {
        "jobs": len(ids),
        "seconds": round(seconds, 2),
        "p50_ms": round(took_ms[len(took_ms) // 2], 2),
        "p99_ms": round(took_ms[int(0.99 * len(took_ms))], 2),
        "max_ms": round(took_ms[-1], 2),
    }
    record_property("submission", json.dumps(told))
    print(json.dumps(told))
    assert len(set(ids.values())) == size.jobs
    with Client(address) as client:
        listed = client.jobs.list(states=[JobState.QUEUED], limit=1000)
    assert {job.id for job in listed} == set(ids.values())
    assert sorted(job.queue_position for job in listed) == list(range(1, size.jobs + 1))
    with Jobs(redis.url()) as jobs:
        run = [jobs.claim(ids[0], "worker-1", 600.0) for _ in range(size.jobs)]
        assert {attempt.job.id for attempt in run if attempt} == set(ids.values())
        assert jobs.claim(ids[0], "worker-1", 600.0) is None
