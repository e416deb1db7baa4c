"""A master that dies, and what is left of the jobs."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from trainer.testing import eventually
from wintergarden.errors import InvalidArgument, Unavailable
from wintergarden.jobs import Attempt, Jobs, JobState, LogWritten, TrainingSpec
from wintergarden.jobs.address import RedisAddress
from wintergarden.jobs.connection import Connection
from wintergarden.jobs.testing_failover import ReplicatedValkey


@pytest.fixture
def replicated(tmp_path: Path) -> Iterator[ReplicatedValkey]:
    with ReplicatedValkey(tmp_path) as running:
        yield running


@pytest.mark.timeout(180)
def test_nothing_acknowledged_is_lost_with_a_master(
    replicated: ReplicatedValkey, spec: TrainingSpec
) -> None:
    """Each write waits for the replica, so whatever was answered is on the next master."""
    submitted: list[str] = []
    is_over = threading.Event()

    def submit() -> None:
        number = 0
        while not is_over.is_set():
            try:
                job = jobs.submit(replace(spec, seed=number), f"request-{number}")
                submitted.append(job.id)
                number += 1
            except Unavailable:  # the same request again: it may have been done
                time.sleep(0.02)

    with Jobs(replicated.url(replicas=1)) as jobs:
        attempt = _running(jobs, spec)
        thread = threading.Thread(target=submit)
        thread.start()
        eventually(lambda: len(submitted) > 50, 60)
        former = replicated.master
        former.kill()
        replicated.wait_until_failed_over(former)
        former.start()  # it comes back as the replica, without which nothing is acknowledged
        before = len(submitted)
        eventually(lambda: len(submitted) > before + 50, 60)
        is_over.set()
        thread.join()
        assert len(set(submitted)) == len(submitted)
        assert {job.id for job in jobs.list(limit=1000)} == {*submitted, attempt.job.id}
        # The attempt goes on where it was, on another server.
        attempt.emit([(LogWritten("info", "still here"), 1)])
        assert attempt.renew().requested == ""
        assert attempt.succeed("mlp-wine", 1, {}) == JobState.SUCCEEDED
        texts = [e.body.text for e in jobs.watch(attempt.job.id) if isinstance(e.body, LogWritten)]
        assert texts == ["still here"]


def test_too_few_replicas_refuse_a_write(replicated: ReplicatedValkey, spec: TrainingSpec) -> None:
    with (
        Jobs(replicated.url(replicas=2)) as jobs,
        pytest.raises(Unavailable, match=r"1 of 2 replicas .* have the last write after 1000 ms"),
    ):
        jobs.submit(spec, "once")
    with Jobs(replicated.url(replicas=1)) as jobs:
        assert jobs.submit(spec, "once").queue_position == 1
        assert len(jobs.list()) == 1


def test_too_few_replicas_cost_a_job_no_attempt(
    replicated: ReplicatedValkey, spec: TrainingSpec, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Jobs(replicated.url(replicas=1)) as enough, Jobs(replicated.url(replicas=2)) as jobs:
        submitted = enough.submit(spec)
        for _ in range(submitted.max_attempts):
            with pytest.raises(Unavailable, match="1 of 2 replicas"):
                jobs.claim(submitted.id, "worker-1", 0.01)
            assert not jobs.reap().expired
        assert enough.get(submitted.id) == submitted
        # A replica that goes just then: the claim is on the master, and whoever made it drops it.
        monkeypatch.setattr(Connection, "require_replicas", lambda _: None)
        with pytest.raises(Unavailable, match="1 of 2 replicas"):
            jobs.claim(submitted.id, "worker-1", 30.0)
        waiting = enough.get(submitted.id)
        assert (waiting.state, waiting.failures, waiting.fence) == (JobState.QUEUED, 0, 1)
        assert waiting.reason == "worker worker-1 could not be sure of its claim"
        attempt = enough.claim(submitted.id, "worker-1", 30.0)
        assert attempt
        assert attempt.fence == 2


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://127.0.0.1", "expected redis://"),
        ("redis+sentinel://:secret@a:1,b:2", "the service's name is missing"),
        ("redis+sentinel://a:x/jobs", "invalid literal"),
        ("redis+sentinel://a,,b/jobs", "names no host"),
    ],
)
def test_addresses_that_are_none(url: str, says: str) -> None:
    with pytest.raises(InvalidArgument, match=says) as caught:
        RedisAddress.parse(url)
    assert "secret" not in caught.value.message


def test_an_address_of_sentinels() -> None:
    address = RedisAddress.parse("rediss+sentinel://me:p%40ss@a:1,b/jobs/3?replicas=2")
    assert address.sentinels == (("a", 1), ("b", 26379))
    assert (address.service, address.database, address.replicas) == ("jobs", 3, 2)
    assert (address.username, address.password, address.tls) == ("me", "p@ss", True)
    assert address.broker_url == "sentinel://me:p%40ss@a:1/3;sentinel://me:p%40ss@b:26379/3"
    assert address.broker_options == {"master_name": "jobs", "ssl": True}


def _running(jobs: Jobs, spec: TrainingSpec) -> Attempt:
    attempt = jobs.claim(jobs.submit(spec).id, "worker-1", 120.0)
    assert attempt
    return attempt
