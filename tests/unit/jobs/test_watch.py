"""Watching: each event once, from any cursor, through a restart of the server."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from wintergarden.errors import InvalidArgument
from wintergarden.jobs import Attempt, Event, Jobs, JobState, LogWritten, TrainingSpec
from wintergarden.jobs.testing import ValkeyServer


def follow(jobs: Jobs, job_id: str, cursor: str = "") -> tuple[threading.Thread, list[Event]]:
    seen: list[Event] = []
    thread = threading.Thread(target=lambda: seen.extend(jobs.watch(job_id, cursor)), daemon=True)
    thread.start()
    return thread, seen


def log_lines(attempt: Attempt, numbers: range) -> None:
    for number in numbers:
        attempt.emit([(LogWritten("info", str(number)), number)])


def test_a_watcher_replays_and_follows_to_the_end(
    jobs: Jobs, start: Callable[..., Attempt]
) -> None:
    attempt = start()
    log_lines(attempt, range(600))
    watchers = [follow(jobs, attempt.job.id) for _ in range(3)]
    log_lines(attempt, range(600, 620))
    attempt.succeed("mlp-wine", 1, {})
    for thread, seen in watchers:
        thread.join(10)
        assert [event.sequence for event in seen] == list(range(1, 624))
        assert [e.step for e in seen if isinstance(e.body, LogWritten)] == list(range(620))
        assert seen[-1].is_last
        assert all(event.time == pytest.approx(time.time(), abs=60) for event in seen)


def test_a_watch_continues_after_any_cursor(jobs: Jobs, start: Callable[..., Attempt]) -> None:
    attempt = start()
    log_lines(attempt, range(5))
    attempt.fail("it diverged")
    events = list(jobs.watch(attempt.job.id))
    for index, event in enumerate(events):
        assert list(jobs.watch(attempt.job.id, event.cursor)) == events[index + 1 :]


def test_looking_without_following_ends_with_what_there_is(
    jobs: Jobs, start: Callable[..., Attempt]
) -> None:
    events = list(jobs.watch(start().job.id, follow=False))
    assert [event.fence for event in events] == [0, 1]


def test_a_watch_stops_when_asked(jobs: Jobs, spec: TrainingSpec) -> None:
    began = time.monotonic()
    events = jobs.watch(jobs.submit(spec).id, stop=lambda: time.monotonic() - began > 0.2)
    assert [event.is_last for event in events] == [False]
    assert time.monotonic() - began < 5


def test_a_cursor_of_another_system_is_refused(jobs: Jobs, spec: TrainingSpec) -> None:
    job = jobs.submit(spec)
    for cursor in ("$", "1", "1-1; drop", "-1-0", "٣-١"):
        with pytest.raises(InvalidArgument, match="cursor"):
            list(jobs.watch(job.id, cursor))


def test_a_watch_survives_a_killed_server(tmp_path: Path, spec: TrainingSpec) -> None:
    with ValkeyServer(tmp_path) as server, Jobs(server.url()) as jobs:
        attempt = jobs.claim(jobs.submit(spec).id, "worker-1", 30.0)
        assert attempt
        log_lines(attempt, range(10))
        thread, seen = follow(jobs, attempt.job.id)
        server.kill()
        time.sleep(0.3)
        server.start()
        log_lines(attempt, range(10, 20))
        attempt.succeed("mlp-wine", 1, {})
        thread.join(15)
        assert not thread.is_alive()
        assert [event.sequence for event in seen] == list(range(1, 24))
        assert jobs.get(attempt.job.id).state == JobState.SUCCEEDED
