"""Each room runs on its own extra alone, as in its image; torch is in the trainer's only."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from importlib.metadata import distributions
from pathlib import Path

import numpy as np
import pytest

from tests.contract.assembly import assemble
from tests.contract.conftest import Environment
from wintergarden.cli.local import services
from wintergarden.cli.local.home import Home
from wintergarden.cli.local.ports import free_ports
from wintergarden.client import Client, JobState, connect
from wintergarden.jobs.testing import ValkeyServer
from wintergarden.service.healthcheck import ask

pytestmark = [
    pytest.mark.environments,
    pytest.mark.timeout(600),
]

ROOT = Path(__file__).parents[2]


def _runtime() -> str:
    """The extra of the ONNX Runtime that is installed here."""
    names = {distribution.name for distribution in distributions()}
    return "gpu" if "onnxruntime-gpu" in names else "cpu"


RUNTIME = _runtime()

# room -> its module, the extras of its image, and what must not come with them
ROOMS: dict[str, tuple[str, tuple[str, ...], set[str]]] = {
    "inference": (
        "services.inference",
        ("inference", RUNTIME),
        {"torch", "celery", "redis", "onnxscript"},
    ),
    "explanation": (
        "services.explanation",
        ("explanation", RUNTIME),
        {"torch", "onnxscript"},
    ),
    "explanation-worker": (
        "services.explanation.worker",
        ("explanation", RUNTIME),
        {"torch", "onnxscript"},
    ),
    "trainer": ("trainer", ("trainer", RUNTIME), {"jsonschema", "shap", "captum"}),
    "gateway": ("gateway", ("gateway",), {"torch", "onnxruntime", "matplotlib"}),
}
# Every module of the room, and with them all that they need of `wintergarden`.
IMPORT_ALL = """
import importlib, pkgutil, sys
room = importlib.import_module(sys.argv[1])
for module in pkgutil.walk_packages(room.__path__, room.__name__ + "."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""


@pytest.fixture(scope="session")
def own_environment(
    wheel: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[tuple[str, ...]], Environment]:
    """Makes one of what these extras need, once for each."""
    directory = tmp_path_factory.mktemp("environments")

    @cache
    def make(extras: tuple[str, ...]) -> Environment:
        path = directory / "-".join(extras)
        assemble(path, wheel, extras)
        return Environment(path)

    return make


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_needs_no_more_than_its_extra(
    room: str, own_environment: Callable[[tuple[str, ...]], Environment]
) -> None:
    module, extras, absent = ROOMS[room]
    own = own_environment(extras)

    assert [name for name in sorted(absent) if own.has(name)] == []
    own.run("python", "-W", "error", "-c", IMPORT_ALL, module)
    assert "usage" in own.run("python", "-m", module, "--help").lower()


@pytest.fixture(scope="module")
def system(
    own_environment: Callable[[tuple[str, ...]], Environment],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Client, dict[str, subprocess.Popen[bytes]]]]:
    """The four rooms, each in its own environment."""
    home = Home(tmp_path_factory.mktemp("home"))
    home.prepare()
    ports = free_ports()
    health = {service.name: service.health for service in services.rooms(ports)}
    with ExitStack() as stack:
        redis = stack.enter_context(ValkeyServer(home.valkey))
        running = {}
        for room, (module, extras, _) in ROOMS.items():
            own = own_environment(extras)
            log = stack.enter_context(home.log_of(room).open("wb"))
            running[room] = stack.enter_context(
                subprocess.Popen(
                    [own.python, "-m", module],
                    cwd=ROOT,
                    env=own.variables | services.environment(home, ports, redis.url()),
                    stdout=log,
                    stderr=log,
                )
            )
            stack.callback(running[room].kill)
        for room, address in health.items():
            until = time.monotonic() + 90
            while problem := ask(address):
                said = home.log_of(room).read_text()[-2000:]
                assert running[room].poll() is None, f"{room} ended: {said}"
                assert time.monotonic() < until, f"{room}: {problem}: {said}"
                time.sleep(0.2)
        client = stack.enter_context(connect(ports.address("gateway")))
        yield client, running


def test_together_they_train_serve_and_explain(
    system: tuple[Client, dict[str, subprocess.Popen[bytes]]],
) -> None:
    client, _ = system
    job = client.train("mlp", "wine", {"epochs": 2}, seed=1).wait(timeout_s=240)
    assert job.state is JobState.SUCCEEDED, job.reason

    client.wait_until_served(job.model, version=job.model_version)
    wine = np.ones((1, 13), np.float32)
    assert client.infer(job.model, wine)["probabilities"].shape == (1, 3)
    assert client.explain(job.model, wine).attributions.shape == (1, 13)
    long = client.jobs.explain(job.model, wine, max_evaluations=1_000)
    assert long.wait(timeout_s=120).state is JobState.SUCCEEDED, long.job.reason
    assert long.result().arrays["attributions"].shape == (1, 13)


def test_each_stops_well_when_asked(
    system: tuple[Client, dict[str, subprocess.Popen[bytes]]],
) -> None:
    _, running = system
    for process in running.values():
        process.send_signal(signal.SIGTERM)
    assert {room: process.wait(60) for room, process in running.items()} == dict.fromkeys(ROOMS, 0)
