"""The command line's words about jobs, against a running gateway on a real Valkey."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.contract.gateway.catalogue import CATALOGUE
from wintergarden.cli.app import app
from wintergarden.errors import WintergardenError
from wintergarden.jobs import LogWritten, MetricsReported, Worker

Run = Callable[..., Any]


@pytest.fixture
def deployment(deploy: Callable[[str], Any]) -> Any:
    deployed = deploy("socket")
    deployed.jobs.publish_catalogue(CATALOGUE)
    return deployed


@pytest.fixture
def run(deployment: Any) -> Run:
    """run("jobs", "list"): what it printed; as JSON where that was asked."""

    def run(*words: str, code: int = 0) -> Any:
        result = CliRunner().invoke(app, [*words, "--address", deployment.target])
        if isinstance(result.exception, WintergardenError):
            raise result.exception
        assert result.exit_code == code, result.output
        return json.loads(result.stdout) if "--json" in words else result.stdout

    return run


def submit(run: Run, *words: str) -> str:
    return str(run("train", "lenet5", "digits", "--detach", *words)).strip()


def test_options_of_a_training_arrive(run: Run) -> None:
    job_id = submit(
        run,
        *("--set", "epochs=3", "--seed", "7", "--priority", "5", "--device", "cpu"),
        *("--max-seconds", "60", "--max-memory-mb", "512", "--processes", "2"),
        *("--variant", "int8", "--promote", "test_accuracy>=0.9"),
    )
    job = run("jobs", "show", job_id, "--json")
    assert job["priority"] == 5
    spec = job["spec"]
    assert (spec["hyperparameters"], spec["seed"], spec["device"]) == ({"epochs": 3}, 7, "cpu")
    assert (spec["max_seconds"], spec["max_memory_mb"], spec["processes"]) == (60, 512, 2)
    assert (spec["variants"], spec["promote"]) == (["int8"], ["test_accuracy>=0.9"])


def test_pause_resume_and_who_works(run: Run, deployment: Any) -> None:
    job_id = submit(run)
    assert "no worker is running" in run("jobs", "workers")
    assert "paused" in run("jobs", "pause", job_id)
    assert job_id in run("jobs", "list", "--state", "paused")
    assert "queued" in run("jobs", "resume", job_id)
    deployment.jobs.report_worker(Worker("worker-1", running=1, concurrency=2, memory_mb=4096))
    told = run("jobs", "workers")
    assert "worker-1" in told
    assert "1 of 2" in told
    assert "4,096 MiB" in told
    assert "waiting: 1 in train" in told


def test_a_clone_with_changes(run: Run) -> None:
    original = submit(run, "--set", "epochs=3", "--seed", "7")
    changes = ("--change", "seed=8", "--change", "model=other", "--set", "epochs=null")
    clone = run("jobs", "clone", original, *changes, "--detach").strip()
    spec = run("jobs", "show", clone, "--json")["spec"]
    assert (spec["seed"], spec["model"], spec["hyperparameters"]) == (8, "other", {})
    with pytest.raises(WintergardenError, match='no field named "colour"'):
        run("jobs", "clone", original, "--change", "colour=red", "--detach")


def test_a_search_and_its_trials(run: Run, deployment: Any) -> None:
    search = run(
        *("search", "lenet5", "digits", "--over", "epochs=int:1:9:2", "--trials", "3"),
        *("--pruning", "none", "--detach"),
    ).strip()
    spec = run("jobs", "show", search, "--json")["spec"]
    assert spec["space"] == {"epochs": {"type": "int", "low": 1, "high": 9, "step": 2}}
    assert (spec["trials"], spec["pruning"]) == (3, "none")
    assert deployment.jobs.claim(search, "worker-1", 30.0)
    trial = deployment.jobs.submit(deployment.jobs.get(submit(run)).spec, parent=search)
    assert [job["id"] for job in run("jobs", "list", "--parent", search, "--json")] == [trial.id]
    assert "search" in run("jobs", "list")
    run("jobs", "cancel", search)
    assert run("jobs", "show", trial.id, "--json")["state"] == "cancelled"


@pytest.mark.parametrize(
    "given", ["epochs", "epochs=int:1", "epochs=int:a:b", "epochs=float:1:2:twice", "x=set:1"]
)
def test_ranges_that_are_none(run: Run, given: str) -> None:
    run("search", "lenet5", "digits", "--over", given, code=2)


def test_a_job_watched_to_its_end(run: Run, deployment: Any) -> None:
    job_id = submit(run)
    attempt = deployment.jobs.claim(job_id, "worker-1", 30.0)
    attempt.emit([(MetricsReported({"train_loss": 0.25}), 10)])
    attempt.keep_checkpoint("1/checkpoint-10", 10)
    attempt.emit([(LogWritten("warning", "half way [and tired]"), 10)])
    attempt.fail("no such luck")
    told = run("jobs", "watch", job_id, code=1)
    assert told == ""  # it is for people, and goes where it does not mix with results
    events = [
        json.loads(line)
        for line in CliRunner()
        .invoke(app, ["jobs", "watch", job_id, "--json", "--address", deployment.target])
        .stdout.splitlines()
    ]
    assert [event["event"] for event in events[:-1]] == [
        "StateChanged",
        "StateChanged",
        "MetricsReported",
        "CheckpointKept",
        "LogWritten",
        "StateChanged",
    ]
    assert events[-1]["reason"] == "no such luck"
