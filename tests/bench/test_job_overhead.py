"""What the machinery around a training costs: until it starts, and while it trains.

Real queue, real worker, real training processes, on a machine that has nothing else to do. Only
ratios are asserted; the times are printed.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from trainer.settings import Settings
from trainer.testing import WorkerProcess, ended, eventually
from wintergarden.jobs import JobRecord, Jobs, JobState, Progressed, StateChanged, TrainingSpec
from wintergarden.jobs.testing import ValkeyServer, free_port
from wintergarden.runtime import available_threads

pytestmark = [pytest.mark.bench, pytest.mark.timeout(3600)]

WARM_JOBS, COLD_JOBS, ROUNDS, EPOCHS = 12, 4, 5, 15
PATIENCE_S = 300.0
LENET = TrainingSpec("lenet5", "mnist-5k", "overhead", {"epochs": EPOCHS}, seed=1)
WINE = TrainingSpec("mlp", "wine", "latency", {"epochs": 1}, seed=1)

# The same work as a user's own script, its imports not counted: they are pre-paid in a warm worker.
# At the worker's priority, and with its threads that sleep while they wait: what else runs on the
# machine should hit both alike.
BARE = f"""
import os, time
os.nice(10)
from trainer.data.registry import load
from trainer.recipes.supervised import train
from trainer.zoo.registry import find
began = time.perf_counter()
lenet = find("lenet5")
train(lenet, lenet.hyperparameters.parse({{"epochs": {EPOCHS}}}), load("mnist-5k"), 1)
print(time.perf_counter() - began)
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ValkeyServer]:
    with ValkeyServer(tmp_path) as running:
        yield running


@contextmanager
def working(server: ValkeyServer, directory: Path, *, warm: bool) -> Iterator[WorkerProcess]:
    settings = Settings.model_validate(
        {
            "redis_url": server.url(),
            "store_uri": str(directory / "store"),
            "work_dir": directory / "work",
            "warm": warm,
        }
    )
    worker = WorkerProcess(settings, "bench", free_port(), directory / "worker.log")
    try:
        eventually(lambda: worker.health()[0] == 200, PATIENCE_S)
        yield worker
    finally:
        worker.process.terminate()
        worker.wait(60)


def test_a_job_starts_at_once_where_a_process_is_kept_ready(
    server: ValkeyServer, tmp_path: Path
) -> None:
    waits: dict[str, list[float]] = {}
    for name, count in (("warm", WARM_JOBS), ("cold", COLD_JOBS)):
        with (
            Jobs(server.url()) as jobs,
            working(server, tmp_path, warm=name == "warm") as worker,
        ):
            waits[name] = [queue_to_start_s(jobs, worker) for _ in range(count)]
        print(
            f"\n{name}: from the submission's answer to the first sign of life of the training "
            f"process: p50 {statistics.median(waits[name]):.3f} s, worst {max(waits[name]):.3f} s "
            f"of {count} jobs (load {os.getloadavg()[0]:.1f})"
        )
    assert statistics.median(waits["warm"]) < statistics.median(waits["cold"]) / 2


@pytest.mark.parametrize("threads", sorted({1, available_threads()}))
def test_the_machinery_costs_little_while_a_job_trains(
    server: ValkeyServer, tmp_path: Path, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", str(threads))
    monkeypatch.setenv("OMP_WAIT_POLICY", "passive")
    bare, machinery = [], []
    with Jobs(server.url()) as jobs, working(server, tmp_path, warm=True) as worker:
        for _ in range(ROUNDS):
            until_idle(worker)
            bare.append(bare_s())
            machinery.append(running_to_trained_s(jobs))
    ratios = [with_it / without for with_it, without in zip(machinery, bare, strict=True)]
    print(
        f"\nLeNet on mnist-5k, {EPOCHS} epochs, threads: {threads}; "
        f"{statistics.median(bare):.2f} s bare, {statistics.median(machinery):.2f} s as a job; "
        f"ratios {', '.join(f'{ratio:.3f}' for ratio in ratios)}, median "
        f"{statistics.median(ratios):.3f} (load {os.getloadavg()[0]:.1f})"
    )
    assert statistics.median(ratios) <= 1.05


def queue_to_start_s(jobs: Jobs, worker: WorkerProcess) -> float:
    until_idle(worker)
    job = jobs.submit(WINE)
    submitted_at = time.time()
    finished = ended(jobs, job.id, PATIENCE_S)
    assert finished.state == JobState.SUCCEEDED, finished.reason
    return when(jobs, job, lambda body: isinstance(body, Progressed)) - submitted_at


def running_to_trained_s(jobs: Jobs) -> float:
    job = jobs.submit(LENET)
    for _ in jobs.watch(job.id):  # asleep until there is news: asking takes the processor's time
        pass
    finished = jobs.get(job.id)
    assert finished.state == JobState.SUCCEEDED, finished.reason
    began = when(jobs, job, lambda b: isinstance(b, StateChanged) and b.state == JobState.RUNNING)
    return when(jobs, job, lambda b: isinstance(b, Progressed) and b.phase == "export") - began


def when(jobs: Jobs, job: JobRecord, wanted: Callable[[object], bool]) -> float:
    """Unix seconds of the first such event."""
    return next(e.time for e in jobs.watch(job.id, follow=False) if wanted(e.body))


def bare_s() -> float:
    ran = subprocess.run([sys.executable, "-c", BARE], capture_output=True, text=True, check=True)
    return float(ran.stdout)


def until_idle(worker: WorkerProcess) -> None:
    """Until neither the worker nor the process it keeps ready is busy with its start."""
    before, since = processor_s(worker.process.pid), time.monotonic()
    while time.monotonic() - since < 1.5:
        time.sleep(0.25)
        now = processor_s(worker.process.pid)
        if now - before > 0.05:
            before, since = now, time.monotonic()


def processor_s(parent: int) -> float:
    """Processor time of a process and its children that are alive."""
    ticks = 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if parent in (int(entry.name), int(fields[1])):
                ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")
