"""A search's trials as they are found again by who takes it up later."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from optuna.trial import TrialState

from trainer.search.trials import Trials
from wintergarden.errors import NotFound
from wintergarden.jobs import JobRecord, Jobs, MetricsReported
from wintergarden.jobs.records import SearchSpec
from wintergarden.jobs.testing import ValkeyServer
from wintergarden.store.job_files import job_file_reader, open_job_files

SPEC = SearchSpec(
    training={"architecture": "scripted", "dataset": "none", "model": "net"},
    space={"x": {"type": "float", "low": 0.0, "high": 1.0}},
    metric="train_loss",
)


class Archive:
    """Of a store, counting how often it is read."""

    def __init__(self, store: Path) -> None:
        self._read = job_file_reader(str(store))
        self.reads = 0
        self.is_lost = False

    def read(self, job_id: str, name: str, limit: int) -> bytes:
        self.reads += 1
        if self.is_lost:
            raise NotFound("it was deleted")
        return self._read(job_id, name, limit)


@pytest.fixture
def archive(store: Path) -> Archive:
    return Archive(store)


@pytest.fixture
def jobs(server: ValkeyServer, archive: Archive) -> Iterator[Jobs]:
    server.flush()
    with Jobs(server.url(), read_archive=archive.read) as opened:
        yield opened


@pytest.fixture
def search(jobs: Jobs, store: Path) -> JobRecord:
    """With a trial that ended so long ago that Redis has but its last event."""
    attempt = jobs.claim(jobs.submit(SPEC).id, "searcher", 30.0)
    assert attempt
    trial = jobs.claim(Trials(jobs, attempt.job, SPEC).submit(0, {"x": 0.5}).id, "trainer", 30.0)
    assert trial
    for epoch in (1, 2):
        values = {"epoch": float(epoch), "train_loss": 1 / epoch}
        trial.emit([(MetricsReported(values), epoch)])
    trial.succeed("net", 1, {"test_accuracy": 0.9})
    files = open_job_files(str(store), trial.job.id)
    assert jobs.archive_events(trial.job.id, files.put, 0) == "archived"
    assert jobs.archive_events(trial.job.id, files.put, 0) == "shortened"
    return attempt.job


def test_what_a_trial_reported_long_ago_is_read_from_its_archive_once(
    jobs: Jobs, search: JobRecord, archive: Archive
) -> None:
    trials = Trials(jobs, search, SPEC)
    for _ in range(3):
        (trial,) = trials.look()
        assert (trial.state, trial.value) == (TrialState.COMPLETE, 0.5)
        assert trial.reports == {1: 1.0, 2: 0.5}
    assert archive.reads == 1


def test_a_trial_whose_events_are_lost_does_not_end_the_search(
    jobs: Jobs, search: JobRecord, archive: Archive
) -> None:
    archive.is_lost = True
    (trial,) = Trials(jobs, search, SPEC).look()
    assert (trial.state, trial.value, trial.reports) == (TrialState.FAIL, None, {})
