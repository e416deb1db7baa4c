"""A search on a real Valkey and a real store; trainings are played, and everything else is real."""

from __future__ import annotations

import errno
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from trainer.publication import release_uri
from trainer.search.search import MAX_FAILURES, Search
from trainer.search.study import STARTUP_TRIALS
from trainer.testing import eventually
from wintergarden.jobs import (
    Attempt,
    JobRecord,
    Jobs,
    JobState,
    LogWritten,
    MetricsReported,
    StaleFence,
)
from wintergarden.jobs.records import SearchSpec
from wintergarden.jobs.testing import ValkeyServer
from wintergarden.store import ManifestFields, TensorInfo, open_store
from wintergarden.store.labels import Labels

X = TensorInfo(name="x", datatype="FP32", shape=(-1, 3))
EPOCHS = 6
Play = Callable[[Jobs, Attempt], None]


def spec(**changes: Any) -> SearchSpec:
    fields: dict[str, Any] = {
        "training": {
            "architecture": "scripted",
            "dataset": "none",
            "model": "net",
            "hyperparameters": {"epochs": EPOCHS},
        },
        "space": {"x": {"type": "float", "low": 0.0, "high": 1.0}},
        "trials": 6,
        "parallel": 2,
        "pruning": "none",
    }
    return SearchSpec(**fields | changes)


def accuracy(job: JobRecord) -> float:
    """Best at 0.3."""
    return 1.0 - (job.spec.hyperparameters["x"] - 0.3) ** 2


def report(attempt: Attempt, epoch: int, value: float) -> None:
    values = {"epoch": float(epoch), "validation_accuracy": value}
    attempt.emit([(MetricsReported(values), 10 * epoch)])


def train_well(store: Path) -> Play:
    def play(jobs: Jobs, attempt: Attempt) -> None:
        value = accuracy(attempt.job)
        for epoch in range(1, EPOCHS + 1):
            report(attempt, epoch, value * epoch / EPOCHS)
        metrics = {"validation_accuracy": value, "test_accuracy": value}
        trials = open_store(release_uri(str(store), attempt.job))
        with trials.publish("net") as draft:
            draft.write("model.onnx", json.dumps(attempt.job.spec.hyperparameters).encode())
            assert attempt.offer(draft.version)
            manifest = draft.commit(
                ManifestFields(
                    architecture="scripted",
                    task="unknown",
                    inputs=(X,),
                    outputs=(X,),
                    hyperparameters=dict(attempt.job.spec.hyperparameters),
                    metrics=metrics,
                    lineage={"job_id": attempt.job.id},
                ),
                publication=attempt.job.id,
            )
        attempt.succeed("net", manifest.version, metrics)

    return play


@contextmanager
def trainings(jobs: Jobs, play: Play) -> Iterator[None]:
    """A worker that plays each trial that waits."""
    is_over = threading.Event()
    problems: list[Exception] = []

    def work() -> None:
        while not is_over.wait(0.01):
            for job in jobs.list([JobState.QUEUED]):
                if job.kind != "train":
                    continue
                attempt = jobs.claim(job.id, "player", 30.0)
                if attempt is None:
                    continue
                try:
                    play(jobs, attempt)
                except Exception as error:
                    problems.append(error)
                    attempt.fail(f"the test's player failed: {error!r}")

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
    assert problems == []


def claim(jobs: Jobs, searched: SearchSpec) -> Attempt:
    attempt = jobs.claim(jobs.submit(searched).id, "worker", 30.0)
    assert attempt is not None
    return attempt


def wait_for_trials(jobs: Jobs, attempt: Attempt, ended: int) -> None:
    def have_ended() -> bool:
        children = jobs.list(parent=attempt.job.id)
        return sum(child.state.is_final for child in children) >= ended

    eventually(have_ended)


def search(jobs: Jobs, attempt: Attempt, store: Path, **settings: Any) -> Search:
    settings = {"is_stopping": threading.Event(), "poll_s": 0.02} | settings
    return Search(jobs, attempt, str(store), **settings)


def test_the_best_trial_s_model_is_published_and_nothing_else(jobs: Jobs, store: Path) -> None:
    attempt = claim(jobs, spec(promote=["test_accuracy>=0.5"]))
    with trainings(jobs, train_well(store)):
        assert search(jobs, attempt, store).run() == JobState.SUCCEEDED
    opened = open_store(str(store))
    assert opened.published() == {"net": [1]}
    children = jobs.list(parent=attempt.job.id)
    best = max(children, key=accuracy)
    manifest = opened.read_manifest("net", 1)
    assert manifest.hyperparameters == best.spec.hyperparameters
    assert manifest.lineage.job_id == attempt.job.id
    assert manifest.lineage.parent == f"job {best.id}"
    artefact = opened.fetch("net", 1)
    assert json.loads(artefact.read("model.onnx")) == best.spec.hyperparameters
    table = json.loads(artefact.read("search/trials.json"))
    assert [row["job_id"] for row in table] == [child.id for child in children]
    assert len(table) == 6
    assert opened.labels("net") == Labels(labels={"stable": 1}, revision=1)
    ended = jobs.get(attempt.job.id)
    assert (ended.model_name, ended.model_version) == ("net", 1)
    assert ended.metrics["validation_accuracy"] == pytest.approx(accuracy(best))


def test_its_events_tell_each_trial_and_the_best_so_far(jobs: Jobs, store: Path) -> None:
    attempt = claim(jobs, spec())
    with trainings(jobs, train_well(store)):
        search(jobs, attempt, store).run()
    events = [*jobs.watch(attempt.job.id, follow=False)]
    metrics = [e for e in events if isinstance(e.body, MetricsReported)]
    assert [e.step for e in metrics] == [1, 2, 3, 4, 5, 6]
    values = [e.body.values["validation_accuracy"] for e in metrics]
    assert [e.body.values["best"] for e in metrics][-1] == pytest.approx(max(values))
    logs = [e.body.text for e in events if isinstance(e.body, LogWritten)]
    assert sum("is job" in text for text in logs) == 6
    assert any("is the best of 6" in text for text in logs)


def test_no_more_run_at_once_than_were_asked_for(jobs: Jobs, store: Path) -> None:
    attempt = claim(jobs, spec(parallel=3))
    running = search(jobs, attempt, store)
    thread = threading.Thread(target=running.run)
    thread.start()
    try:
        eventually(lambda: len(jobs.list(parent=attempt.job.id)) == 3)
        time.sleep(0.2)  # it would go on if it did
        assert len(jobs.list(parent=attempt.job.id)) == 3
    finally:
        with trainings(jobs, train_well(store)):
            thread.join()


def test_a_search_that_was_killed_goes_on_and_doubles_no_trial(
    server: ValkeyServer, jobs: Jobs, store: Path
) -> None:
    first = claim(jobs, spec(trials=8))
    abandoned = search(jobs, first, store)
    with trainings(jobs, train_well(store)):
        for _ in range(3):  # as far as it got before it was killed
            abandoned._step()
        server.expire_lease(first.job.id)
        jobs.reap()
        second = jobs.claim(first.job.id, "another", 30.0)
        assert second is not None
        assert search(jobs, second, store).run() == JobState.SUCCEEDED
        with pytest.raises(StaleFence):
            abandoned._step()
        assert abandoned.run() is None
    children = jobs.list(parent=first.job.id)
    assert len(children) == 8
    assert len({child.request_id for child in children}) == 8
    assert open_store(str(store)).published() == {"net": [1]}


def test_killed_and_resumed_it_tries_what_it_would_have_tried(
    server: ValkeyServer, jobs: Jobs, store: Path, tmp_path: Path
) -> None:
    def tried(attempt: Attempt) -> list[Any]:
        return [c.spec.hyperparameters for c in jobs.list(parent=attempt.job.id)]

    undisturbed = claim(jobs, spec(trials=8, parallel=1, seed=5))
    with trainings(jobs, train_well(tmp_path / "one")):
        search(jobs, undisturbed, tmp_path / "one").run()
    disturbed = claim(jobs, spec(trials=8, parallel=1, seed=5))
    with trainings(jobs, train_well(store)):
        attempt = disturbed
        for expected in range(6):  # more often than a job may fail that gets nowhere
            wait_for_trials(jobs, attempt, expected)
            search(jobs, attempt, store)._step()
            server.expire_lease(attempt.job.id)
            jobs.reap()
            again = jobs.claim(attempt.job.id, "another", 30.0)
            assert again is not None
            attempt = again
        search(jobs, attempt, store).run()
    assert tried(disturbed) == tried(undisturbed)


def test_one_killed_after_it_published_publishes_once(
    server: ValkeyServer, jobs: Jobs, store: Path
) -> None:
    first = claim(jobs, spec(trials=2, promote=["test_accuracy>=0"]))
    abandoned = search(jobs, first, store)
    with trainings(jobs, train_well(store)):
        eventually(abandoned._step)  # it knows how to end, and never does
        assert open_store(str(store)).published() == {"net": [1]}
        server.expire_lease(first.job.id)
        jobs.reap()
        second = jobs.claim(first.job.id, "another", 30.0)
        assert second is not None
        assert search(jobs, second, store).run() == JobState.SUCCEEDED
    opened = open_store(str(store))
    assert opened.published() == {"net": [1]}
    assert opened.labels("net").labels == {"stable": 1}


def test_hopeless_trials_are_cancelled(jobs: Jobs, store: Path) -> None:
    attempt = claim(jobs, spec(trials=12, parallel=1, pruning="median"))

    def play(jobs: Jobs, trial: Attempt) -> None:
        if len(jobs.list(parent=attempt.job.id)) <= STARTUP_TRIALS:
            train_well(store)(jobs, trial)
            return
        for epoch in (1, 2, 3):
            report(trial, epoch, 0.001)  # worse than all before
        eventually(lambda: trial.renew().requested == "cancel")
        trial.cancelled("cancelled while it ran")

    with trainings(jobs, play):
        assert search(jobs, attempt, store).run() == JobState.SUCCEEDED
    states = [child.state for child in jobs.list(parent=attempt.job.id)]
    assert states == [JobState.SUCCEEDED] * STARTUP_TRIALS + [JobState.CANCELLED] * 7
    logs = [e.body.text for e in jobs.watch(attempt.job.id, follow=False)
            if isinstance(e.body, LogWritten)]  # fmt: skip
    assert sum("was given up after 3 epochs" in text for text in logs) == 7


def test_trials_that_all_fail_end_it_with_their_reason(jobs: Jobs, store: Path) -> None:
    def play(_: Jobs, trial: Attempt) -> None:
        trial.fail("no hyperparameter 'x'; there are batch_size")

    attempt = claim(jobs, spec(trials=50))
    with trainings(jobs, play):
        assert search(jobs, attempt, store).run() == JobState.FAILED
    assert len(jobs.list(parent=attempt.job.id)) <= MAX_FAILURES + 1
    assert "no hyperparameter 'x'; there are batch_size" in jobs.get(attempt.job.id).reason
    assert open_store(str(store)).published() == {}


def test_cancelling_it_cancels_its_trials(jobs: Jobs, store: Path) -> None:
    attempt = claim(jobs, spec())
    running = search(jobs, attempt, store)
    running._step()
    jobs.cancel(attempt.job.id)
    assert running.run() == JobState.CANCELLED
    assert {c.state for c in jobs.list(parent=attempt.job.id)} == {JobState.CANCELLED}


def test_a_worker_that_stops_gives_it_back(jobs: Jobs, store: Path) -> None:
    is_stopping = threading.Event()
    attempt = claim(jobs, spec())
    running = search(jobs, attempt, store, is_stopping=is_stopping)
    running._step()
    is_stopping.set()
    assert running.run() == JobState.QUEUED
    assert {c.state for c in jobs.list(parent=attempt.job.id)} == {JobState.QUEUED}


def test_one_that_is_paused_begins_no_new_trial_until_it_goes_on(jobs: Jobs, store: Path) -> None:
    attempt = claim(jobs, spec())
    running = search(jobs, attempt, store)
    running._step()
    jobs.pause(attempt.job.id)
    assert running.run() == JobState.PAUSED
    with trainings(jobs, train_well(store)):
        wait_for_trials(jobs, attempt, 2)
        assert len(jobs.list(parent=attempt.job.id)) == 2
        jobs.resume(attempt.job.id)
        again = jobs.claim(attempt.job.id, "another", 30.0)
        assert again is not None
        assert search(jobs, again, store).run() == JobState.SUCCEEDED


def test_it_waits_for_space_in_the_store(
    jobs: Jobs, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync, left = os.fsync, [1, 1]

    def full(descriptor: int) -> None:
        target = Path(f"/proc/self/fd/{descriptor}").readlink()
        if left and target.is_relative_to(store / "models"):
            left.pop()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    attempt = claim(jobs, spec(trials=2))
    with trainings(jobs, train_well(store)):
        waiting = search(jobs, attempt, store, space_wait_s=0.05)
        assert waiting.run() == JobState.SUCCEEDED
    logs = [e.body for e in jobs.watch(attempt.job.id, follow=False)
            if isinstance(e.body, LogWritten)]  # fmt: skip
    assert sum("no space to write" in log.text for log in logs if log.level == "warning") == 2
    (versions,) = open_store(str(store)).published().values()
    assert len(versions) == 1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"space": {"x": {"type": "float", "low": 2, "high": 1}}}, "low 2.0 is above high 1.0"),
        ({"metric": "test_accuracy"}, "held-out examples"),
        ({"trials": 0}, "trials"),
        ({"pruning": "hope"}, "pruning 'hope'"),
        ({"training": {"model": "net"}}, "training"),
    ],
)
def test_a_search_without_sense_fails_before_it_begins(
    jobs: Jobs, store: Path, changes: dict[str, Any], reason: str
) -> None:
    attempt = claim(jobs, spec(**changes))
    assert search(jobs, attempt, store).run() == JobState.FAILED
    assert reason in jobs.get(attempt.job.id).reason
    assert jobs.list(parent=attempt.job.id) == []
