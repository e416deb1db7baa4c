"""The archivist: from Redis to a directory and to S3, and back to who watches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from wintergarden.errors import StorageFull
from wintergarden.jobs import Attempt, Jobs, LogWritten, TrainingSpec
from wintergarden.jobs.testing import ValkeyServer
from wintergarden.store.directory import Directory
from wintergarden.store.job_files import job_file_reader, open_job_files
from wintergarden.worker.archivist import Archivist


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    with ValkeyServer(Path(tmp_path_factory.mktemp("valkey"))) as running:
        yield running


@pytest.fixture
def jobs(server: ValkeyServer) -> Iterator[Jobs]:
    server.flush()
    with Jobs(server.url()) as opened:
        yield opened


@pytest.fixture
def start(jobs: Jobs) -> Callable[[], Attempt]:
    def submit_and_claim() -> Attempt:
        job = jobs.submit(TrainingSpec("mlp", "wine", "mlp-wine"))
        attempt = jobs.claim(job.id, "worker-1", 30.0)
        assert attempt
        return attempt

    return submit_and_claim


@pytest.fixture(params=["directory", "s3"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "directory":
        return str(tmp_path / "store")
    return str(request.getfixturevalue("s3_uri"))


def ended(start: Callable[..., Attempt]) -> str:
    attempt = start()
    attempt.emit([(LogWritten("info", f"line {number}"), number) for number in range(30)])
    attempt.fail("it diverged")
    return attempt.job.id


def test_events_are_kept_in_the_store_and_watched_from_there(
    uri: str, jobs: Jobs, server: ValkeyServer, start: Callable[..., Attempt]
) -> None:
    ids = [ended(start) for _ in range(3)]
    running = start().job.id
    with Jobs(server.url(), read_archive=job_file_reader(uri)) as gateway:
        before = {job_id: list(gateway.watch(job_id)) for job_id in ids}
        for _ in range(3):
            Archivist(jobs, uri, keep_s=0.0).work()
        assert {job_id: list(gateway.watch(job_id)) for job_id in ids} == before
        half = before[ids[0]][7].cursor
        assert list(gateway.watch(ids[0], half)) == before[ids[0]][8:]
    assert [len(open_job_files(uri, job_id).names()) for job_id in ids] == [1, 1, 1]
    assert open_job_files(uri, running).names() == []
    assert [event.is_last for event in jobs.watch(ids[0])] == [True]


def test_a_full_disk_delays_it_and_loses_nothing(
    jobs: Jobs,
    start: Callable[..., Attempt],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job_id = ended(start)
    before = list(jobs.watch(job_id))

    def refuse(*_: object) -> None:
        raise StorageFull("no space left on device")

    with monkeypatch.context() as full:
        full.setattr(Directory, "put", refuse)
        with pytest.raises(StorageFull):
            Archivist(jobs, str(tmp_path), keep_s=0.0).work()
    assert open_job_files(str(tmp_path), job_id).names() == []
    assert list(jobs.watch(job_id)) == before
    Archivist(jobs, str(tmp_path), keep_s=3600.0).work()
    assert len(open_job_files(str(tmp_path), job_id).names()) == 1
    assert list(jobs.watch(job_id)) == before
