"""Jobs of a deployment whose every process is killed and paused, again and again.

    make chaos                                  ten minutes, forty jobs
    WINTERGARDEN_CHAOS_SEED=7 make chaos        the same mischief again

A short form runs with all other tests.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from services.explanation.testing import publish_linear
from tests.chaos import verdict
from tests.chaos.mischief import Mischief
from tests.chaos.system import ROOT, System
from tests.chaos.watchers import Watcher
from trainer.testing import eventually
from trainer.testing_child import ONE_AFTER_ANOTHER
from wintergarden.client import Client, Job, JobState
from wintergarden.errors import Unavailable
from wintergarden.store import open_store

IS_LONG = os.environ.get("WINTERGARDEN_CHAOS", "") == "1"
SEED = int(os.environ.get("WINTERGARDEN_CHAOS_SEED", "0"))

pytestmark = pytest.mark.timeout(3600 if IS_LONG else 900)


@dataclass(frozen=True)
class Size:
    jobs: int
    explanations: int
    arrivals_s: float  # during which jobs are submitted
    seconds: float  # of mischief
    is_over_with_jobs: bool  # the mischief ends when the last job has
    patience_s: float  # afterwards


SIZE = Size(40, 12, 560, 600, False, 1800) if IS_LONG else Size(5, 2, 10, 60, True, 600)

RECIPES = {
    "convolutions": ("lenet5", "digits", {"epochs": 6}, 1),
    "dropout": ("mlp", "digits", {"epochs": 40, "dropout": 0.2}, 2),
    "patience": ("mlp", "wine", {"epochs": 200, "patience": 50}, 3),
    "momentum": ("mlp", "breast-cancer", {"epochs": 80, "optimizer": "sgd"}, 4),
}


def undisturbed(folder: Path) -> dict[str, str]:
    """By recipe the digest of the weights that a run of nothing but the training gives."""
    store_uri = str(folder / "undisturbed")
    orders = [
        {
            "architecture": architecture,
            "dataset": dataset,
            "hyperparameters": hyperparameters,
            "seed": seed,
            "model": name,
            "store_uri": store_uri,
        }
        for name, (architecture, dataset, hyperparameters, seed) in RECIPES.items()
    ]
    subprocess.run(
        ONE_AFTER_ANOTHER,
        check=True,
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "passive"},
        input="\n".join(map(json.dumps, orders)),
        stdout=subprocess.DEVNULL,
        text=True,
    )
    store = open_store(store_uri)
    return {
        name: verdict.digest(store.fetch(name, 1).read("weights.safetensors")) for name in RECIPES
    }


EXPLANATION: dict[str, Any] = {
    "model": "table",
    "examples": (0, 64),
    "max_evaluations": 4_000 * 20,
    "seed": 5,
}


class Submitter:
    """Submits every job while the mischief is going on already."""

    def __init__(self, address: str) -> None:
        self.recipes: dict[str, str] = {}
        self.explanations: set[str] = set()
        self.watchers: dict[str, Watcher] = {}
        self._address = address
        self._thread = threading.Thread(target=self._submit, daemon=True)
        self._thread.start()

    @property
    def is_over(self) -> bool:
        return not self._thread.is_alive()

    def _submit(self) -> None:
        random_ = random.Random(SEED + 1)
        arrivals_s = sorted(random_.uniform(0, SIZE.arrivals_s) for _ in range(SIZE.jobs))
        names = list(RECIPES)
        started = time.monotonic()
        with Client(self._address, retry_for_s=300) as client:
            for number, arrival_s in enumerate(arrivals_s):
                time.sleep(max(0.0, started + arrival_s - time.monotonic()))
                name = names[number % len(names)]
                architecture, dataset, hyperparameters, seed = RECIPES[name]
                job = client.train(
                    architecture,
                    dataset,
                    hyperparameters,
                    model=name,
                    seed=seed,
                    request_id=f"chaos-{number}",
                ).job
                self.recipes[job.id] = name
                self.watchers[job.id] = Watcher(self._address, job.id)
                if number < SIZE.explanations:
                    explanation = client.jobs.explain(**EXPLANATION, request_id=f"look-{number}")
                    self.explanations.add(explanation.id)
                    self.watchers[explanation.id] = Watcher(self._address, explanation.id)


def test_nothing_is_lost_whatever_dies(tmp_path: Path, record_property: object) -> None:
    expected = undisturbed(tmp_path)
    with System(tmp_path / "system") as system:
        publish_linear(str(system.store))
        eventually(lambda: _trainers_are_there(system.address), 120)
        with Client(system.address) as client:
            calm = client.jobs.explain(**EXPLANATION)
            assert calm.wait(timeout_s=300).state is JobState.SUCCEEDED, calm.job.reason
            expected_numbers = verdict.digest(calm.result().files["result.npz"])
        submitter = Submitter(system.address)
        mischief = Mischief(system, SEED)

        def is_enough() -> bool:
            watchers = [*submitter.watchers.values()]
            return submitter.is_over and all(watcher.is_over for watcher in watchers)

        started = time.monotonic()
        mischief.go_on(SIZE.seconds, lambda: SIZE.is_over_with_jobs and is_enough())
        made_in_s = time.monotonic() - started

        def have_all_ended() -> bool:
            mischief.repair()
            return is_enough()

        eventually(have_all_ended, SIZE.patience_s)
        jobs = [job for job in _jobs(system.address) if job.id != calm.id]
        overlap_s = verdict.longest_overlap_s(system.traces, jobs)
        told = {
            "seed": SEED,
            "mischief": dict(mischief.done),
            "mischief_s": round(made_in_s, 1),
            "all_ended_s": round(time.monotonic() - started, 1),
            "jobs": len(jobs),
            "attempts": sum(job.attempt for job in jobs),
            "events": sum(len(watcher.events) for watcher in submitter.watchers.values()),
            "longest_overlap_s": round(overlap_s, 2),
        }
        print(json.dumps(told))

        submitted = set(submitter.recipes) | submitter.explanations
        assert {job.id for job in jobs} == submitted, "a job was lost"
        assert len(jobs) == SIZE.jobs + SIZE.explanations
        assert {job.state for job in jobs} == {JobState.SUCCEEDED}, [
            (job.id, job.reason) for job in jobs if job.state is not JobState.SUCCEEDED
        ]
        for watcher in submitter.watchers.values():
            verdict.check_events(watcher.events)
        verdict.check_overlap(overlap_s)
        with Client(system.address, retry_for_s=60) as client:
            for job_id in submitter.explanations:
                content = client.jobs.result(job_id).files["result.npz"]
                assert verdict.digest(content) == expected_numbers
        open_store(str(system.store)).delete("table")
        trained = [job for job in jobs if job.kind == "train"]
        weights = verdict.check_published_once(open_store(str(system.store)), trained)
        verdict.check_same_weights(weights, submitter.recipes, expected)
        assert sum(mischief.done.values()) > 0


def _trainers_are_there(address: str) -> bool:
    try:
        with Client(address) as client:
            return bool(client.architectures())
    except Unavailable:
        return False


def _jobs(address: str) -> list[Job]:
    with Client(address, retry_for_s=60) as client:
        return client.jobs.list(limit=1000)
