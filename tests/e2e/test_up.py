"""`wintergarden up` under fire: whatever is killed comes back, and nothing is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from wintergarden.cli.local.background import Background, in_background
from wintergarden.cli.local.home import Home
from wintergarden.cli.local.ports import is_free
from wintergarden.cli.local.valkey import EmbeddedValkey
from wintergarden.client import Client, JobState, MetricsReported, connect
from wintergarden.errors import Unavailable

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(600),
    pytest.mark.skipif(
        "WINTERGARDEN_E2E_ADDRESS" in os.environ, reason="looks at processes, not at an address"
    ),
]
ROOT = Path(__file__).parents[2]
SERVICES = ("valkey", "inference", "explanation", "trainer", "explanation-worker", "gateway")
WINE = np.array([[13.2, 2.77, 2.51, 18.5, 96.6, 1.04, 2.55, 0.57, 1.47, 6.2, 1.05, 3.33, 820.0]])


def eventually(condition: Callable[[], object], limit_s: float = 60) -> None:
    give_up_at = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < give_up_at
        time.sleep(0.1)


def journey(client: Client) -> None:
    """Short, and through every room."""
    job = client.train("mlp", "wine", {"epochs": 5}, model="wine").wait(timeout_s=180)
    assert job.state is JobState.SUCCEEDED, job.reason
    answer = client.infer("wine", WINE, version=job.model_version)
    assert answer["probabilities"].sum() == pytest.approx(1, abs=1e-5)
    explanation = client.explain("wine", WINE, version=job.model_version)
    assert explanation.model.version == job.model_version


def works_again(client: Client) -> None:
    """Calls that are not repeated by themselves may fail while a room is away, but not for long."""
    give_up_at = time.monotonic() + 60
    while True:
        try:
            return journey(client)
        except Unavailable:
            if time.monotonic() > give_up_at:
                raise
            time.sleep(0.2)


def pid_of(home: Home, service: str) -> int:
    lock = home.lock_of(service)
    pid = int(lock.read_text() or 0) if lock.exists() else 0
    return pid if service in home.leftovers() else 0


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Background]:
    with in_background(tmp_path_factory.mktemp("home")) as system:
        yield system


@pytest.fixture
def client(system: Background) -> Iterator[Client]:
    with connect(system.address, retry_for_s=30) as client:
        yield client


@pytest.mark.parametrize("service", SERVICES)
def test_what_is_killed_comes_back_and_the_journey_works_again(
    system: Background, client: Client, service: str
) -> None:
    eventually(lambda: pid_of(system.home, service))
    first = pid_of(system.home, service)
    os.kill(first, signal.SIGKILL)
    eventually(lambda: pid_of(system.home, service) not in (0, first))
    works_again(client)


def test_the_trainer_yields(system: Background) -> None:
    nice = {name: psutil.Process(pid_of(system.home, name)).nice() for name in SERVICES}
    assert nice["trainer"] > nice["inference"] == nice["gateway"]


def test_a_second_one_on_the_same_home_says_who_has_it(system: Background) -> None:
    ran = up("--home", str(system.home.path), "--port", "0")
    assert ran.returncode == 1
    assert f"in use by `wintergarden up` with process id {system.process.pid}" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_a_port_in_use_is_named(system: Background, tmp_path: Path) -> None:
    port = system.address.rpartition(":")[2]
    ran = up("--home", str(tmp_path), "--port", port)
    assert ran.returncode == 1
    assert f"port {port} (gateway) is in use" in ran.stderr


def test_a_killed_supervisor_leaves_no_orphan_and_the_next_run_has_the_data(
    tmp_path: Path,
) -> None:
    with in_background(tmp_path) as system:
        with connect(system.address) as client:
            journey(client)
            # Under way when all goes down: its training process must not live on either.
            handle = client.train("mlp", "mnist-5k", {"epochs": 40}, model="interrupted")
            next(event for event in handle.watch() if isinstance(event, MetricsReported))
            jobs = {job.id for job in client.jobs.list()}
        assert family_after_killing(system, pid_of(system.home, "supervisor")) == []
        assert system.process.returncode == 1

    with in_background(tmp_path) as system:
        with connect(system.address) as client:
            has_the_data(client, jobs)
            eventually(lambda: client.jobs.get(handle.id).attempt == 2, 120)
        assert family_after_killing(system, system.process.pid) == []
        assert system.process.returncode == -signal.SIGKILL

    with in_background(tmp_path) as system, connect(system.address) as client:
        has_the_data(client, jobs)
        job = client.jobs.handle(handle.id).wait(timeout_s=240)
        assert (job.state, job.attempt) == (JobState.SUCCEEDED, 3), job.reason
        (versions,) = (m.versions for m in client.models.list() if m.name == "interrupted")
        assert len(versions) == 1, "each attempt has published"


def has_the_data(client: Client, jobs: set[str]) -> None:
    assert {job.id for job in client.jobs.list()} == jobs
    client.wait_until_served("wine", version=1)
    client.infer("wine", WINE)


def family_after_killing(system: Background, pid: int) -> list[psutil.Process]:
    """Who of the system's processes lives on, half a minute after one of them was killed."""
    family = psutil.Process(system.process.pid).children(recursive=True)
    assert len(family) >= 1 + len(SERVICES) + 1
    os.kill(pid, signal.SIGKILL)
    system.process.wait(40)
    return psutil.wait_procs(family, timeout=40)[1]


def test_it_stops_in_order_on_request_and_leaves_nothing(tmp_path: Path) -> None:
    with in_background(tmp_path) as system:
        family = psutil.Process(system.process.pid).children(recursive=True)
        started = time.monotonic()
    assert system.process.returncode == 0
    assert time.monotonic() - started < 30
    assert psutil.wait_procs(family, timeout=5)[1] == []
    assert not system.home.ready_file.exists()
    text = system.home.log_of("supervisor").read_text()
    stopped = [
        line.split("stopped: ")[1].split()[0] for line in text.splitlines() if "stopped: " in line
    ]
    assert stopped == list(reversed(SERVICES))


def test_what_does_not_serve_in_time_is_told_and_stopped(tmp_path: Path) -> None:
    ran = up("--home", str(tmp_path), "--port", "0", "--ready-limit", "0.5")
    assert ran.returncode == 1
    assert "is not serving after" in ran.stderr
    assert "the last lines of" in ran.stderr
    assert Home(tmp_path).leftovers() == {}


def test_a_redis_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = EmbeddedValkey(tmp_path, tmp_path / "valkey.conf")
    monkeypatch.setenv("REDIS_URL", own.url)
    ran = up("--home", str(tmp_path / "home"), "--port", "0")
    assert ran.returncode == 1
    assert "does not answer" in ran.stderr
    assert own.url.split("@")[0] not in ran.stderr, "the password is told"

    own.write_configuration()
    with subprocess.Popen(own.command, stdout=subprocess.DEVNULL) as server:
        try:
            eventually(lambda: not is_free(int(own.url.split(":")[-1].split("/")[0])))
            with in_background(tmp_path / "home") as system, connect(system.address) as client:
                assert client.jobs.list() == []
                assert pid_of(system.home, "valkey") == 0
        finally:
            server.terminate()


def up(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "wintergarden", "up", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
