"""Real worker processes, a real server, and what kills them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from trainer.settings import Settings
from trainer.testing import (
    WorkerProcess,
    ended,
    eventually,
    has_ended,
    running,
    scripted,
    states_of,
)
from wintergarden.jobs import Jobs, JobState, TrainingSpec
from wintergarden.jobs.broker import Messenger
from wintergarden.jobs.testing import ValkeyServer

StartWorker = Callable[..., WorkerProcess]
LONG = {"steps": 10_000, "step_s": 0.02}


def test_a_worker_runs_jobs_and_says_that_it_is_well(jobs: Jobs, start_worker: StartWorker) -> None:
    worker = start_worker()
    job = jobs.submit(scripted())
    assert ended(jobs, job.id).state == JobState.SUCCEEDED
    worker.wait_until_healthy()
    assert worker.health() == (200, "ok")
    assert jobs.read_catalogue() == {
        "architectures": [{"name": "scripted", "datasets": ["none"]}],
        "datasets": [{"name": "none"}],
    }
    mapped = Path(f"/proc/{worker.process.pid}/maps").read_text()
    assert "torch" not in mapped
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 0


def test_the_worker_imports_no_torch() -> None:
    """Importing it would cost every trainer 300 MB, and CUDA its second process."""
    check = "import sys, trainer.__main__; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_what_is_ready_to_train_imports_nothing_for_its_first_step() -> None:
    """It would count as time without progress, and on a busy machine be taken for a hang."""
    check = """if True:
        import sys, trainer.training, torch
        ready = {*sys.modules}
        weights = torch.nn.Linear(1, 1)
        optimizer = torch.optim.Adam(weights.parameters())
        weights(torch.ones(1, 1)).sum().backward()
        optimizer.step()
        sys.exit(len({*sys.modules} - ready) > 3)"""
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_a_waiting_job_starts_at_once(jobs: Jobs, start_worker: StartWorker) -> None:
    start_worker().wait_until_healthy()
    waits = []
    for _ in range(5):
        job = ended(jobs, jobs.submit(scripted(steps=1, step_s=0)).id)
        assert job.started_at
        waits.append(job.started_at - job.submitted_at)
    assert sorted(waits)[2] < 0.5


def test_a_doubled_message_does_nothing(jobs: Jobs, start_worker: StartWorker) -> None:
    start_worker()
    job = jobs.submit(scripted(steps=20))
    for _ in range(5):
        jobs.send(job)
    assert ended(jobs, job.id).fence == 1
    for _ in range(3):
        jobs.send(job)
    other = jobs.submit(scripted())
    assert ended(jobs, other.id).state == JobState.SUCCEEDED
    assert states_of(jobs, job.id) == ["QUEUED", "RUNNING", "SUCCEEDED"]


def test_a_lost_message_is_sent_again(
    jobs: Jobs, server: ValkeyServer, start_worker: StartWorker
) -> None:
    job = jobs.submit(scripted())
    server.delete("wintergarden:celery:train")
    server.overwrite(f"wintergarden:job:{job.id}", "send_at", "0")
    start_worker()
    assert ended(jobs, job.id).state == JobState.SUCCEEDED


def test_a_killed_workers_job_is_run_by_another(
    jobs: Jobs, start_worker: StartWorker, store: Path, settings: Settings
) -> None:
    first = start_worker("worker-1")
    job = jobs.submit(scripted(steps=100, step_s=0.02))
    child = running(jobs, job.id, store)
    first.signal(signal.SIGKILL)
    eventually(lambda: has_ended(child))
    start_worker("worker-2")
    finished = ended(jobs, job.id)
    assert (finished.state, finished.worker, finished.fence) == (
        JobState.SUCCEEDED,
        "worker-2",
        2,
    )
    assert states_of(jobs, job.id) == ["QUEUED", "RUNNING", "QUEUED", "RUNNING", "SUCCEEDED"]
    assert not (store / f"{job.id}-1.published").exists()


def test_a_killed_training_process_is_tried_again_and_not_for_ever(
    jobs: Jobs, start_worker: StartWorker
) -> None:
    start_worker()
    once = jobs.submit(scripted(die="exit once"))
    always = jobs.submit(scripted(die="kill"))
    after = jobs.submit(scripted())
    assert ended(jobs, once.id).fence == 2
    poison = ended(jobs, always.id)
    assert (poison.state, poison.fence) == (JobState.FAILED, 3)
    assert re.fullmatch(
        "attempt 3 of 3: the training process was killed by SIGKILL, not by its supervisor: most "
        r"likely it ran out of memory( \(it used \d+ MiB when last looked at\))?; its last log "
        "lines:\nabout to kill",
        poison.reason,
    )
    assert ended(jobs, after.id).state == JobState.SUCCEEDED


def test_a_worker_resumed_after_its_lease_has_no_effect(
    jobs: Jobs, start_worker: StartWorker, store: Path
) -> None:
    """Paused with its training process, as a suspended machine is."""
    first = start_worker("worker-1")
    job = jobs.submit(scripted(steps=60, step_s=0.02))
    child = running(jobs, job.id, store)
    first.signal(signal.SIGSTOP)
    os.kill(child, signal.SIGSTOP)
    start_worker("worker-2")
    running(jobs, job.id, store, fence=2)
    os.kill(child, signal.SIGCONT)
    first.signal(signal.SIGCONT)
    finished = ended(jobs, job.id)
    assert (finished.state, finished.fence) == (JobState.SUCCEEDED, 2)
    eventually(lambda: has_ended(child))
    eventually(lambda: any(line["event"] == "superseded" for line in first.logged()))
    fences = [event.fence for event in jobs.watch(job.id)]
    assert fences == sorted(fences)
    assert not (store / f"{job.id}-1.published").exists()
    # It is of use again.
    assert ended(jobs, jobs.submit(scripted()).id).state == JobState.SUCCEEDED


def test_a_training_process_whose_worker_is_paused_stops_itself(
    jobs: Jobs, start_worker: StartWorker, store: Path, settings: Settings
) -> None:
    worker = start_worker()
    job = jobs.submit(scripted(**LONG))
    child = running(jobs, job.id, store)
    worker.signal(signal.SIGSTOP)
    eventually(lambda: has_ended(child))


def test_a_stopped_worker_gives_its_job_to_another(
    jobs: Jobs, start_worker: StartWorker, store: Path
) -> None:
    workers = {name: start_worker(name) for name in ("worker-1", "worker-2")}
    for worker in workers.values():
        worker.wait_until_healthy()
    job = jobs.submit(scripted(steps=40, step_s=0.02))
    running(jobs, job.id, store)
    first = workers.pop(jobs.get(job.id).worker)
    first.signal(signal.SIGTERM)
    assert first.wait() == 0
    finished = ended(jobs, job.id)
    assert (finished.state, finished.worker) == (JobState.SUCCEEDED, *workers)
    assert (finished.fence, finished.failures) == (2, 0)


def test_a_running_job_is_cancelled(jobs: Jobs, start_worker: StartWorker, store: Path) -> None:
    start_worker()
    job = jobs.submit(scripted(**LONG))
    child = running(jobs, job.id, store)
    jobs.cancel(job.id)
    assert ended(jobs, job.id).state == JobState.CANCELLED
    eventually(lambda: has_ended(child))


def test_a_job_outlives_a_killed_redis(
    start_worker: StartWorker, settings: Settings, store: Path, tmp_path: Path
) -> None:
    with ValkeyServer(tmp_path) as server, Jobs(server.url()) as jobs:
        used = settings.model_copy(
            update={"redis_url": type(settings.redis_url)(server.url()), "lease_s": 4.0}
        )
        worker = start_worker("worker-1", used)
        job = jobs.submit(scripted(steps=60, step_s=0.02))
        waiting = jobs.submit(scripted())
        running(jobs, job.id, store)
        server.kill()
        time.sleep(0.5)
        server.start()
        finished = ended(jobs, job.id)
        assert (finished.state, finished.fence) == (JobState.SUCCEEDED, 1)
        assert [event.sequence for event in jobs.watch(job.id)] == list(
            range(1, len(list(jobs.watch(job.id))) + 1)
        )
        assert ended(jobs, waiting.id).state == JobState.SUCCEEDED
        worker.wait_until_healthy()
        assert worker.process.poll() is None


def test_health_tells_a_worker_that_gets_no_messages(
    start_worker: StartWorker, settings: Settings, tmp_path: Path
) -> None:
    with ValkeyServer(tmp_path) as server:
        used = settings.model_copy(
            update={"redis_url": type(settings.redis_url)(server.url()), "rounds_s": 0.2}
        )
        worker = start_worker("worker-1", used)
        worker.wait_until_healthy()
        server.kill()
        eventually(lambda: worker.health() == (503, "no messages come, although probes are sent"))
        server.start()
        worker.wait_until_healthy()


def test_the_catalogue_comes_back_to_an_emptied_redis(
    jobs: Jobs, server: ValkeyServer, start_worker: StartWorker
) -> None:
    start_worker().wait_until_healthy()
    server.flush()
    assert eventually(jobs.read_catalogue)["datasets"] == [{"name": "none"}]
    assert ended(jobs, jobs.submit(scripted()).id).state == JobState.SUCCEEDED


def test_a_worker_ends_with_its_supervisor(
    settings: Settings, start_worker: StartWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    with subprocess.Popen(["sleep", "60"]) as supervisor:
        monkeypatch.setenv("WINTERGARDEN_SUPERVISOR_PID", str(supervisor.pid))
        worker = start_worker()
        worker.wait_until_healthy()
        supervisor.kill()
        assert worker.wait() == 0


def test_leftovers_of_killed_attempts_are_swept(
    jobs: Jobs, settings: Settings, start_worker: StartWorker
) -> None:
    cancelled = jobs.cancel(jobs.submit(scripted()).id)
    leftover = settings.work_dir / f"{cancelled.id}-4"
    leftover.mkdir(parents=True)
    start_worker()
    eventually(lambda: not leftover.exists())


def test_messages_are_json_and_name_the_job(jobs: Jobs, server: ValkeyServer) -> None:
    job = jobs.submit(scripted())
    import base64
    import json

    import redis

    with redis.Redis.from_url(server.url()) as client:
        [message] = client.lrange("wintergarden:celery:train", 0, -1)
    envelope = json.loads(message)
    assert envelope["content-type"] == "application/json"
    assert envelope["headers"]["task"] == "wintergarden.look_at"
    assert json.loads(base64.b64decode(envelope["body"]))[0] == [job.id]


def test_sending_to_a_redis_that_is_gone_is_no_error() -> None:
    from wintergarden.jobs.connection import Connection

    messenger = Messenger(Connection("redis://127.0.0.1:1/0"))
    assert not messenger.send(TrainingSpec.kind, "0123456789abcdef")
    messenger.close()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("REDIS_URL", "", "TRAINER_STORE_URI: missing"),
        ("LEASE_S", "0", "TRAINER_LEASE_S: got '0'; allowed: Input should be greater"),
        ("CHILD_COMMAND", " ", "TRAINER_CHILD_COMMAND: got ' '; allowed: a command line"),
    ],
)
def test_wrong_settings_end_the_start_with_the_name(name: str, value: str, message: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "trainer"],
        env=os.environ | {f"TRAINER_{name}": value},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 2
    assert message in ran.stderr
