"""Long explanations as their user sees them: gateway, queue, worker and processes, all real."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from gateway.app import App
from gateway.settings import GatewaySettings
from services.explanation.testing import EXAMPLES, FEATURES, publish_linear
from trainer.testing import eventually, has_ended
from wintergarden.cli.app import app
from wintergarden.cli.checks import Patient, examine
from wintergarden.cli.local.home import Home
from wintergarden.client import (
    Client,
    JobHandle,
    JobState,
    MetricsReported,
    PictureShown,
    Progressed,
)
from wintergarden.errors import (
    AlreadyExists,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    Overloaded,
)
from wintergarden.jobs import JobRecord, Jobs
from wintergarden.jobs.testing import ValkeyServer, free_port
from wintergarden.store.job_files import jobs_with_files, open_job_files

LONG: dict[str, Any] = {"examples": (0, EXAMPLES), "max_evaluations": 2_000 * 20, "seed": 3}
"""Eight blocks, each of some tenths of a second."""

ENDLESS: dict[str, Any] = {
    "inputs": np.random.default_rng(7).random((4_000, FEATURES), np.float32),
    "max_evaluations": 10_000 * 20,
}
"""Five hundred blocks: for jobs that are not to reach their end."""


@dataclass
class Deployment:
    """A gateway, and workers as they are started."""

    client: Client
    jobs: Jobs
    store_uri: str
    redis_url: str
    scratch: Path
    workers: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start_worker(self) -> None:
        name = f"worker-{len(self.workers) + 1}"
        variables = {
            "REDIS_URL": self.redis_url,
            "STORE_URI": self.store_uri,
            "WORK_DIR": str(self.scratch),
            "WORKER_NAME": name,
            "METRICS_ADDRESS": f"127.0.0.1:{free_port()}",
            "LEASE_S": "2",
            "ROUNDS_S": "0.3",
            "GRACE_S": "5",
            "INTRA_OP_THREADS": "1",
        }
        environment = {f"EXPLANATION_WORKER_{n}": text for n, text in variables.items()}
        with (self.scratch.parent / f"{name}.log").open("wb") as log:
            self.workers[name] = subprocess.Popen(
                [sys.executable, "-m", "services.explanation.worker"],
                env=os.environ | environment,
                stdout=log,
                stderr=log,
            )

    def process_of(self, handle: JobHandle) -> int:
        """The process that works on the job; the worker has others ready that wait."""
        job = self.jobs.get(handle.id)
        log = (self.scratch.parent / f"{job.worker}.log").read_text().splitlines()
        lines = [json.loads(line) for line in log if line.startswith("{")]
        ids = [line["pid"] for line in lines if "pid" in line and line.get("job") == job.id]
        return int(ids[-1])

    def ended(self, handle: JobHandle) -> JobHandle:
        eventually(lambda: handle.refresh().state.is_final)
        return handle

    def result_of(self, handle: JobHandle) -> bytes:
        """The numbers, as they are in the file."""
        assert self.ended(handle).job.state is JobState.SUCCEEDED, handle.job.reason
        return handle.result().files["result.npz"]

    def at_work(self, handle: JobHandle, blocks: int = 1) -> subprocess.Popen[bytes]:
        """Some blocks are kept; the worker that has the job."""

        def look() -> JobRecord | None:
            job = self.jobs.get(handle.id)
            assert not job.state.is_final, job.reason
            return job if job.checkpoint_step >= 8 * blocks and job.worker else None

        return self.workers[eventually(look).worker]


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    with ValkeyServer(tmp_path_factory.mktemp("valkey")) as running:
        yield running


@pytest.fixture(scope="module")
def deploy(
    valkey: ValkeyServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], Deployment]]:
    """Starts gateways, each with a store and a database of its own."""
    databases = iter(range(16))
    with ExitStack() as stack:

        def start() -> Deployment:
            directory = tmp_path_factory.mktemp("deployment")
            store_uri, redis_url = str(directory / "store"), valkey.url(next(databases))
            publish_linear(store_uri)
            settings = GatewaySettings(
                address="127.0.0.1:0",
                inference_socket=directory / "nobody.sock",
                store_uri=store_uri,
                redis_url=SecretStr(redis_url),
                max_queued=3,
            )
            gateway = App(settings)
            gateway.start()
            stack.callback(gateway.stop, 5.0)
            client = stack.enter_context(Client(gateway.server.addresses[0]))
            jobs = stack.enter_context(Jobs(redis_url))
            made = Deployment(client, jobs, store_uri, redis_url, directory / "scratch")
            stack.callback(stop_workers, made)
            return made

        yield start


def stop_workers(deployment: Deployment) -> None:
    for worker in deployment.workers.values():
        worker.terminate()
    for worker in deployment.workers.values():
        worker.wait()


@pytest.fixture(scope="module")
def deployment(deploy: Callable[[], Deployment]) -> Deployment:
    """With two workers."""
    made = deploy()
    for _ in range(2):
        made.start_worker()
    eventually(lambda: len(made.client.jobs.workers().workers) == 2)
    return made


@pytest.fixture
def idle(deploy: Callable[[], Deployment]) -> Deployment:
    """Without any worker."""
    return deploy()


def test_a_job_answers_what_a_call_answers(deployment: Deployment) -> None:
    handle = deployment.client.jobs.explain(
        "table", examples=(2, 3), max_evaluations=400 * 20, seed=1, render=True
    )
    assert (handle.job.kind, handle.job.spec["version"]) == ("explain", 1)
    assert deployment.ended(handle).job.state is JobState.SUCCEEDED, handle.job.reason
    assert handle.job.metrics["rows"] == 3

    result = handle.result()
    arrays = result.arrays
    assert arrays["attributions"].shape == (3, FEATURES)
    assert np.abs(arrays["efficiency_gaps"]).max() < 1e-4
    np.testing.assert_allclose(
        arrays["base_values"] + arrays["player_values"].sum(axis=1),
        arrays["outputs"],
        atol=1e-4,
    )
    assert result.summary["digest"] == handle.job.spec["digest"]
    assert result.summary["output_space"] == "logit"
    assert [picture.name for picture in result.pictures] == [
        f"kernel-shap-{row}.png" for row in range(3)
    ]
    events = list(handle.watch())
    assert [e.name for e in events if isinstance(e, PictureShown)] == [
        f"1/kernel-shap-{row}.png" for row in range(3)
    ]
    assert [e.values["rows"] for e in events if isinstance(e, MetricsReported)] == [3]
    assert {e.phase for e in events if isinstance(e, Progressed)} >= {"explain", "result"}
    left = open_job_files(deployment.store_uri, handle.id).names()
    assert not [name for name in left if "checkpoint" in name]


def test_attacks_and_curves_are_jobs_too(deployment: Deployment) -> None:
    rows = np.random.default_rng(5).random((70, FEATURES), np.float32)
    attack = deployment.client.jobs.attack("table", rows, epsilon=0.3)
    curve = deployment.client.jobs.robustness("table", epsilons=[0.0, 0.1, 0.3], render=True)
    deployment.ended(attack)
    deployment.ended(curve)

    assert attack.job.state is JobState.SUCCEEDED, attack.job.reason
    found = attack.result()
    assert found.arrays["adversarial"].shape == rows.shape
    assert found.arrays["distances_linf"].max() <= np.float32(0.3)
    assert found.summary["epsilon"] == pytest.approx(0.3)
    assert attack.job.metrics["success_rate"] > 0.5
    assert curve.job.state is JobState.SUCCEEDED, curve.job.reason
    accuracies = curve.result().arrays["accuracies"]
    assert accuracies[0] == 1.0
    assert accuracies[0] >= accuracies[1] >= accuracies[2]
    assert [picture.name for picture in curve.result().pictures] == ["robustness-fgsm.png"]


def test_whoever_is_killed_the_result_is_the_same(deployment: Deployment) -> None:
    """First the process that works, then the worker above it."""
    undisturbed = deployment.client.jobs.explain("table", **LONG)
    expected = deployment.result_of(undisturbed)

    handle = deployment.client.jobs.explain("table", render=True, **LONG)
    deployment.at_work(handle)
    os.kill(deployment.process_of(handle), signal.SIGKILL)
    eventually(lambda: deployment.jobs.get(handle.id).fence == 2)
    worker = deployment.at_work(handle, 4)
    orphan = deployment.process_of(handle)
    worker.kill()
    eventually(lambda: has_ended(orphan))
    assert deployment.result_of(handle) == expected
    assert handle.job.attempt >= 3

    events = list(handle.watch())
    shown = [e.name.partition("/")[2] for e in events if isinstance(e, PictureShown)]
    assert shown == [f"kernel-shap-{row}.png" for row in range(16)]
    numbers = [e.sequence for e in events]
    assert numbers == list(range(1, len(numbers) + 1))
    kept = [e.step for e in events if isinstance(e, MetricsReported)]
    assert set(kept) == set(range(8, EXAMPLES + 1, 8))
    # The block that was under way is told again at most.
    assert len(kept) <= EXAMPLES // 8 + handle.job.attempt - 1


def test_a_pause_keeps_what_is_done(deployment: Deployment) -> None:
    handle = deployment.client.jobs.explain("table", **ENDLESS)
    deployment.at_work(handle)
    handle.pause()
    eventually(lambda: handle.refresh().state is JobState.PAUSED)
    done, attempt = handle.job.checkpoint_step, handle.job.attempt
    handle.resume()
    later = (e for e in handle.watch() if isinstance(e, MetricsReported) and e.attempt > attempt)
    assert next(later).step == done + 8
    handle.cancel()
    deployment.ended(handle)


def test_a_cancelled_job_ends_soon_and_has_no_result(deployment: Deployment) -> None:
    handle = deployment.client.jobs.explain("table", **ENDLESS)
    deployment.at_work(handle)
    handle.cancel()
    deployment.ended(handle)
    assert handle.job.state is JobState.CANCELLED
    with pytest.raises(FailedPrecondition, match="has no result"):
        handle.result()


def test_the_version_is_settled_when_the_job_is_submitted(idle: Deployment) -> None:
    request: dict[str, Any] = {"examples": (0, 8), "request_id": "once"}
    before = idle.client.jobs.explain("table", **request)
    publish_linear(idle.store_uri, seed=1)
    again = idle.client.jobs.explain("table", **request)
    newer = idle.client.jobs.explain("table", examples=(0, 8))
    assert again.id == before.id
    assert [handle.job.spec["version"] for handle in (before, newer)] == [1, 2]
    assert before.job.spec["digest"] != newer.job.spec["digest"]
    with pytest.raises(AlreadyExists, match="another specification"):
        idle.client.jobs.explain("table", examples=(0, 9), request_id="once")
    assert sorted(jobs_with_files(idle.store_uri)) == sorted([before.id, newer.id])


def test_a_version_that_goes_under_the_job_ends_it(deployment: Deployment) -> None:
    publish_linear(deployment.store_uri, "short-lived")
    handle = deployment.client.jobs.explain("short-lived", **ENDLESS)
    deployment.at_work(handle)
    deployment.client.models.delete("short-lived")
    deployment.ended(handle)
    assert handle.job.state is JobState.FAILED
    assert handle.job.reason == (
        "version 1 of model 'short-lived', which the job was submitted for, has been deleted"
    )


def test_the_command_line_follows_a_job_and_fetches_its_files(
    deployment: Deployment, tmp_path: Path
) -> None:
    def run(*words: str) -> str:
        told = CliRunner().invoke(app, [*words, "--address", deployment.client.address])
        assert told.exit_code == 0, told.output
        return str(told.output)

    numbers, moved, found = (tmp_path / name for name in ("values.npz", "moved.npz", "found"))
    submit = ("explain", "table", "--job", "--examples", "0:4", "--request-id", "by-hand")
    assert f"wrote {numbers}" in run(*submit, "--save", str(numbers)).replace("\n", "")
    run("attack", "table", "--job", "--examples", "0:0", "-e", "0.2", "--save", str(moved))
    with np.load(numbers) as explained, np.load(moved) as attacked:
        assert explained["attributions"].shape == (4, FEATURES)
        assert attacked["adversarial"].shape == (EXAMPLES, FEATURES)

    job_id = run(*submit, "--detach").strip()  # the same request: the same job
    assert "kernel_shap on table version 1" in run("jobs", "show", job_id)
    run("jobs", "result", job_id, "--output", str(found))
    assert (found / "result.npz").read_bytes() == numbers.read_bytes()
    assert json.loads((found / "summary.json").read_text())["method"] == "kernel_shap"
    patient = Patient(Home(tmp_path / "home"), deployment.client.address)
    workers = [finding for finding in examine(patient) if finding.check == "workers"]
    assert "takes explain" in workers[0].text
    assert workers[-1].text == "nobody takes jobs of 'train'; 0 wait"


def test_what_cannot_be_done_is_refused(deployment: Deployment) -> None:
    client = deployment.client
    before = set(jobs_with_files(deployment.store_uri))
    rows = np.zeros((4, FEATURES), np.float32)
    with pytest.raises(InvalidArgument, match="no attribution method 'tarot'; there are "):
        client.jobs.explain("table", rows, "tarot")
    with pytest.raises(InvalidArgument, match="no attack method 'kernel_shap'"):
        client.jobs.attack("table", rows, "kernel_shap", epsilon=0.1)
    with pytest.raises(InvalidArgument, match="input has 10001 rows; 1 to 10000 are allowed"):
        client.jobs.explain("table", np.zeros((10_001, FEATURES), np.float32))
    with pytest.raises(InvalidArgument, match=r"give either explain\.input or examples"):
        client.jobs.explain("table")
    with pytest.raises(InvalidArgument, match="not both"):
        client.jobs.explain("table", rows, examples=(0, 1))
    with pytest.raises(NotFound, match="nobody"):
        client.jobs.explain("nobody", rows)
    assert set(jobs_with_files(deployment.store_uri)) == before

    handle = deployment.ended(client.jobs.explain("table", rows[:, 1:]))
    assert handle.job.state is JobState.FAILED
    assert handle.job.attempt == 1, "trying again would not help"
    assert "must be FP32 [-1, 16], got FP32 [4, 15]" in handle.job.reason
    handle = deployment.ended(client.jobs.explain("table", examples=(0, 1), input_name="other"))
    assert "has the inputs features, got 'other'" in handle.job.reason


def test_a_full_queue_refuses_and_keeps_nothing_of_what_it_refused(idle: Deployment) -> None:
    waiting = [idle.client.jobs.explain("table", examples=(0, 1)) for _ in range(3)]
    assert [handle.job.queue_position for handle in waiting] == [1, 2, 3]
    assert waiting[0].job.reason == "no worker is running"
    with (
        Client(idle.client.address, retry_for_s=0) as hasty,
        pytest.raises(Overloaded, match="3 jobs are waiting or paused already"),
    ):
        hasty.jobs.explain("table", examples=(0, 1))
    assert sorted(jobs_with_files(idle.store_uri)) == sorted(h.id for h in waiting)
    urgent = waiting.pop()
    urgent.cancel()
    first = idle.client.jobs.explain("table", examples=(0, 1), priority=5)
    assert first.job.queue_position == 1
