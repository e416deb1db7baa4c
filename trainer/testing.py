"""For tests of the trainer: workers in processes of their own, and jobs that they run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from trainer.settings import Settings
from wintergarden.jobs import JobRecord, Jobs, JobState, StateChanged, TrainingSpec

PATIENCE_S = 60.0
"""On a slow machine that has much else to do."""

Body = TypeVar("Body")


def eventually(check: Callable[[], Any], timeout_s: float = PATIENCE_S) -> Any:
    """The first true answer of `check`."""
    until = time.monotonic() + timeout_s
    while not (answer := check()):
        if time.monotonic() > until:
            raise TimeoutError(f"it did not come true in {timeout_s:.0f} s")
        time.sleep(0.02)
    return answer


def scripted(**script: Any) -> TrainingSpec:
    """What the scripted training process of the tests does; limits of the job go among it."""
    limits = {name: script.pop(name) for name in ("max_seconds", "max_memory_mb") if name in script}
    return TrainingSpec("scripted", "none", "scripted-none", script, seed=3, **limits)


def ended(jobs: Jobs, job_id: str, timeout_s: float = PATIENCE_S) -> JobRecord:
    def look() -> JobRecord | None:
        job = jobs.get(job_id)
        return job if job.state.is_final else None

    job: JobRecord = eventually(look, timeout_s)
    return job


def running(jobs: Jobs, job_id: str, store: Path, fence: int = 1) -> int:
    """Waits until the job's training process works; its pid."""
    pid_file = store / f"{job_id}-{fence}.pid"
    eventually(lambda: pid_file.exists() and pid_file.read_text())
    eventually(lambda: jobs.get(job_id).phase == "train" and jobs.get(job_id).fence == fence)
    return int(pid_file.read_text())


def has_ended(pid: int) -> bool:
    """Also when nobody has asked for its exit code yet."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return state in "ZX"


class WorkerProcess:
    """`python -m trainer` in a process of its own."""

    def __init__(
        self,
        settings: Settings,
        name: str,
        port: int,
        log: Path,
        program: Sequence[str] = ("-m", "trainer"),
    ) -> None:
        self.health_url = f"http://127.0.0.1:{port}/health"
        self.log = log
        environment = os.environ | {
            "TRAINER_REDIS_URL": settings.redis_url.get_secret_value(),
            "TRAINER_STORE_URI": settings.store_uri,
            "TRAINER_WORK_DIR": str(settings.work_dir),
            "TRAINER_LEASE_S": str(settings.lease_s),
            "TRAINER_ROUNDS_S": str(settings.rounds_s),
            "TRAINER_GRACE_S": str(settings.grace_s),
            "TRAINER_CHILD_COMMAND": settings.child_command,
            "TRAINER_WORKER_NAME": name,
            "TRAINER_METRICS_ADDRESS": f"127.0.0.1:{port}",
            "TRAINER_WARM": str(settings.warm),
            "TRAINER_CHECKPOINT_INTERVAL_S": str(settings.checkpoint_interval_s),
            "TRAINER_SWEEP_S": str(settings.sweep_s),
        }
        with log.open("wb") as stream:
            self.process = subprocess.Popen(
                [sys.executable, *program], env=environment, stderr=stream
            )

    def health(self) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(self.health_url, timeout=5) as answer:
                return answer.status, answer.read().decode().strip()
        except urllib.error.HTTPError as exc:
            with exc:
                return exc.code, exc.read().decode().strip()
        except OSError as exc:
            return 0, str(exc)

    def wait_until_healthy(self) -> None:
        eventually(lambda: self.health()[0] == 200)

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self, timeout_s: float = PATIENCE_S) -> int:
        return self.process.wait(timeout_s)

    def logged(self) -> list[dict[str, Any]]:
        lines = self.log.read_text().splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]


def states_of(jobs: Jobs, job_id: str) -> list[JobState]:
    events = jobs.watch(job_id, follow=False)
    return [event.body.state for event in events if isinstance(event.body, StateChanged)]


def bodies(jobs: Jobs, job: JobRecord, kind: type[Body]) -> list[Body]:
    """Those of a job's events that are of a kind."""
    events = jobs.watch(job.id, follow=False)
    return [event.body for event in events if isinstance(event.body, kind)]
