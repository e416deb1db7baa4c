"""Events outlive Redis: archived at a job's end, dropped later, watched all the same."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Iterator

import pytest

from wintergarden.errors import DataLoss, StorageFull, Unsupported
from wintergarden.jobs import Attempt, Jobs, JobState, LogWritten, TrainingSpec, archive
from wintergarden.jobs.testing import ValkeyServer

Files = dict[tuple[str, str], bytes]


@pytest.fixture
def files() -> Files:
    return {}


@pytest.fixture
def jobs(server: ValkeyServer, files: Files) -> Iterator[Jobs]:
    server.flush()
    with Jobs(server.url(), read_archive=lambda job, name, _: files[job, name]) as opened:
        yield opened


def see_to_all(jobs: Jobs, files: Files, keep_s: float = 0.0) -> list[str]:
    return [
        jobs.archive_events(
            job, lambda name, text, of=job: files.__setitem__((of, name), text), keep_s
        )
        for job in jobs.archive_due()
    ]


def ended(start: Callable[..., Attempt], lines: int = 20) -> str:
    attempt = start()
    attempt.emit([(LogWritten("info", "é" * 3), number) for number in range(lines)])
    attempt.succeed("mlp-wine", 1, {"test_accuracy": 0.9})
    return attempt.job.id


def test_an_archive_replays_what_redis_had(
    jobs: Jobs, files: Files, start: Callable[..., Attempt]
) -> None:
    job_id = ended(start)
    before = list(jobs.watch(job_id))
    assert see_to_all(jobs, files) == ["archived"]
    assert list(jobs.watch(job_id)) == before
    assert see_to_all(jobs, files) == ["shortened"]
    assert see_to_all(jobs, files) == []
    assert len(list(jobs.watch(job_id, follow=False))) == len(before)
    for index, event in enumerate(before):
        assert list(jobs.watch(job_id, event.cursor)) == before[index + 1 :]
    assert jobs.get(job_id).state == JobState.SUCCEEDED


def test_without_a_reader_the_last_event_is_left(
    jobs: Jobs, files: Files, server: ValkeyServer, start: Callable[..., Attempt]
) -> None:
    job_id = ended(start)
    see_to_all(jobs, files)
    see_to_all(jobs, files)
    with Jobs(server.url()) as elsewhere:
        assert [event.is_last for event in elsewhere.watch(job_id)] == [True]


def test_events_stay_for_a_while_beside_their_archive(
    jobs: Jobs, files: Files, start: Callable[..., Attempt]
) -> None:
    ended(start)
    assert see_to_all(jobs, files, keep_s=60.0) == ["archived"]
    assert see_to_all(jobs, files, keep_s=60.0) == []


def test_a_slow_watcher_sees_each_event_once_though_they_are_dropped_meanwhile(
    jobs: Jobs, files: Files, start: Callable[..., Attempt]
) -> None:
    job_id = ended(start, lines=1_000)
    events = jobs.watch(job_id)
    seen = [next(events).sequence for _ in range(3)]  # a page is read, the others are not
    see_to_all(jobs, files)
    see_to_all(jobs, files)
    seen += [event.sequence for event in events]
    assert seen == list(range(1, 1_004))


def test_a_store_that_is_full_loses_nothing(
    jobs: Jobs, files: Files, start: Callable[..., Attempt]
) -> None:
    job_id = ended(start)
    before = list(jobs.watch(job_id))

    def refuse(name: str, content: bytes) -> None:
        raise StorageFull("no space")

    with pytest.raises(StorageFull):
        jobs.archive_events(job_id, refuse, 0.0)
    assert jobs.archive_due() == [job_id]
    assert list(jobs.watch(job_id)) == before
    assert see_to_all(jobs, files) == ["archived"]


def test_jobs_that_never_ran_are_archived_and_running_ones_are_not(
    jobs: Jobs, files: Files, spec: TrainingSpec, start: Callable[..., Attempt]
) -> None:
    cancelled = jobs.cancel(jobs.submit(spec).id)
    running = start()
    assert jobs.archive_due() == [cancelled.id]
    assert jobs.archive_events(running.job.id, lambda name, content: None, 0.0) == "stale"
    assert see_to_all(jobs, files) == ["archived"]
    assert [job for job, _ in files] == [cancelled.id]


def test_an_end_that_was_forgotten_by_a_fail_over_makes_another_archive_count(
    jobs: Jobs, files: Files, server: ValkeyServer, start: Callable[..., Attempt]
) -> None:
    job_id = ended(start)
    put: list[str] = []

    def take_over(name: str, content: bytes) -> None:
        put.append(name)
        server.overwrite(f"wintergarden:job:{job_id}", "state", "RUNNING")

    assert jobs.archive_events(job_id, take_over, 0.0) == "stale"
    assert len(put) == 1
    assert jobs.archive_due() == []


def test_many_archivists_at_once_do_it_once(
    jobs: Jobs, files: Files, start: Callable[..., Attempt]
) -> None:
    job_ids = [ended(start) for _ in range(5)]
    before = {job: list(jobs.watch(job)) for job in job_ids}
    threads = [threading.Thread(target=see_to_all, args=(jobs, files)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    while see_to_all(jobs, files):
        pass
    assert {job: list(jobs.watch(job)) for job in job_ids} == before


def test_a_forgotten_job_is_not_seen_to(
    jobs: Jobs, files: Files, start: Callable[..., Attempt]
) -> None:
    job_id = ended(start)
    assert jobs.forget(job_id)
    assert jobs.archive_due() == []
    assert jobs.archive_events(job_id, lambda name, content: None, 0.0) == "gone"


def test_what_is_no_archive_is_refused(start: Callable[..., Attempt]) -> None:
    entry = {"fence": "1", "sequence": "1", "step": "0", "time": "5", "type": "log"}
    content = archive.pack("a", [("1-0", entry | {"body": '{"level": "info", "text": "x"}'})])
    assert archive.unpack(content, "a")[0].body == LogWritten("info", "x")
    for spoilt in (
        content[:-9],
        b"",
        b"{}",
        archive.pack("b", []),
        archive.pack("a", [("1-0", {})]),
    ):
        with pytest.raises(DataLoss, match="of job a are of no use"):
            archive.unpack(spoilt, "a")
    with pytest.raises(Unsupported, match="schema version 9"):
        archive.unpack(gzip.compress(b'{"schema_version": 9, "job": "a"}'), "a")
