"""The launcher over real, small processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from wintergarden.cli.local import leash
from wintergarden.cli.local.home import Home
from wintergarden.cli.local.services import Service
from wintergarden.cli.local.supervision import Supervisor, configuration
from wintergarden.cli.local.valkey import EmbeddedValkey
from wintergarden.errors import FailedPrecondition

ROOT = Path(__file__).parents[3]
SLEEP = (sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)")


def eventually(condition: Callable[[], object], limit_s: float = 20) -> None:
    give_up_at = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < give_up_at
        time.sleep(0.05)


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "it's 100 % ours")  # a path that quoting must survive
    home.prepare()
    return home


def pid_of(home: Home, service: str) -> int:
    """Of the service's process; 0 while there is none."""
    lock = home.lock_of(service)
    pid = int(lock.read_text() or 0) if lock.exists() else 0
    return pid if service in home.leftovers() and is_running(pid) else 0


@pytest.fixture
def supervise(home: Home) -> Iterator[Callable[..., Supervisor]]:
    running: list[Supervisor] = []

    def start(*services: Service) -> Supervisor:
        running.append(Supervisor(services, home, ROOT, {}))
        return running[-1]

    yield start
    for supervisor in running:
        supervisor.stop()


def test_a_killed_process_comes_back(home: Home, supervise: Callable[..., Supervisor]) -> None:
    supervisor = supervise(Service("a", SLEEP))
    eventually(lambda: pid_of(home, "a"))
    time.sleep(1.2)  # it counts as started
    first = pid_of(home, "a")
    os.kill(first, signal.SIGKILL)
    eventually(lambda: pid_of(home, "a") not in (0, first))
    eventually(lambda: home.log_of("a").read_text().count("up") == 2)
    assert supervisor.exits()["a"] == 1


def test_one_that_never_starts_is_tried_again_and_again_ever_slower(
    home: Home, supervise: Callable[..., Supervisor]
) -> None:
    supervisor = supervise(Service("broken", (sys.executable, "-c", "raise SystemExit('no ε')")))
    eventually(lambda: supervisor.exits()["broken"] >= 3)
    assert "no ε" in home.log_of("broken").read_text()


def test_services_stop_one_after_the_other_the_last_first(
    home: Home, supervise: Callable[..., Supervisor], tmp_path: Path
) -> None:
    record = tmp_path / "stopped"
    script = tmp_path / "stopping.py"
    script.write_text(
        "import signal, sys, time\n"
        f"def stop(*_):\n  time.sleep(0.3); open({str(record)!r}, 'a').write(sys.argv[1])\n"
        "  sys.exit()\n"
        "signal.signal(signal.SIGTERM, stop); print('up', flush=True); time.sleep(600)"
    )
    names = ("a", "b", "c")
    supervisor = supervise(*[Service(n, (sys.executable, str(script), n)) for n in names])
    eventually(lambda: all(home.log_of(n).exists() and home.log_of(n).read_text() for n in names))
    supervisor.stop()
    assert record.read_text() == "cba"
    assert home.leftovers() == {}


def test_when_the_supervisor_is_killed_nothing_is_left_behind(
    home: Home, supervise: Callable[..., Supervisor]
) -> None:
    valkey = EmbeddedValkey(home.valkey, home.run / "valkey.conf")
    valkey.write_configuration()
    supervisor = supervise(Service("a", SLEEP), Service("valkey", tuple(valkey.command)))
    eventually(lambda: pid_of(home, "a") and pid_of(home, "valkey"))
    eventually(lambda: "Ready to accept connections" in home.log_of("valkey").read_text())
    os.kill(supervisor.pid, signal.SIGKILL)
    eventually(lambda: home.leftovers() == {})
    assert any(home.valkey.rglob("*.aof"))


def test_when_its_starter_is_killed_the_supervisor_stops_everything(home: Home) -> None:
    script = (
        "import sys, time; from pathlib import Path\n"
        "from wintergarden.cli.local.home import Home\n"
        "from wintergarden.cli.local.services import Service\n"
        "from wintergarden.cli.local.supervision import Supervisor\n"
        f"Supervisor([Service('a', {SLEEP!r})], Home(Path(sys.argv[1])), Path.cwd(), {{}})\n"
        "time.sleep(600)"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(home.path)], cwd=ROOT) as starter:
        eventually(lambda: pid_of(home, "a"))
        starter.kill()
    eventually(lambda: home.leftovers() == {})


def test_a_leash_whose_parent_has_ended_runs_nothing(home: Home) -> None:
    command = [sys.executable, leash.__file__]
    command += ["--lock", str(home.lock_of("a")), "--", sys.executable, "-c", "print('ran')"]
    ran = subprocess.run(
        command,
        env={**os.environ, leash.PARENT_VARIABLE: "1"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode != 0
    assert ran.stdout == ""
    assert "parent 1 has ended" in ran.stderr


def test_a_second_process_on_the_same_data_waits_for_the_first(home: Home) -> None:
    def leashed(code: str) -> subprocess.Popen[str]:
        command = [sys.executable, leash.__file__, "--nice", "5"]
        command += ["--lock", str(home.lock_of("a")), "--", sys.executable, "-c", code]
        environment = {**os.environ, leash.PARENT_VARIABLE: str(os.getpid())}
        return subprocess.Popen(
            command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True
        )

    with leashed("import time; print(1, flush=True); time.sleep(600)") as first:
        assert first.stdout and first.stdout.readline() == "1\n"
        assert psutil.Process(first.pid).nice() == min(psutil.Process().nice() + 5, 19)
        with leashed("print(2)") as second:
            time.sleep(0.5)
            assert second.poll() is None
            assert home.leftovers() == {"a": str(first.pid)}
            first.kill()
            first.wait()
            assert second.communicate(timeout=10)[0] == "2\n"


def test_a_home_in_use_says_by_whom(home: Home) -> None:
    mine = f"process id {os.getpid()}"
    with home.occupied(), pytest.raises(FailedPrecondition, match=mine), home.occupied():
        pass
    with home.occupied():  # and is free again
        pass


def test_leftovers_that_do_not_end_are_named(home: Home) -> None:
    said: list[str] = []
    command = [sys.executable, leash.__file__, "--lock"]
    command += [str(home.lock_of("valkey")), "--", *SLEEP]
    environment = {**os.environ, leash.PARENT_VARIABLE: str(os.getpid())}
    with subprocess.Popen(
        command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as left:
        assert left.stdout and left.stdout.readline() == "up\n"
        with pytest.raises(FailedPrecondition, match=rf"valkey \(process id {left.pid}\)"):
            home.wait_for_leftovers(0.2, said.append)
        left.kill()
    assert len(said) == 1
    home.wait_for_leftovers(5, said.append)


def test_a_long_home_still_has_a_socket_short_enough(tmp_path: Path) -> None:
    home = Home(tmp_path / ("long" * 40))
    home.prepare()
    assert len(os.fsencode(home.socket)) < 104
    assert home.socket.parent.is_dir()
    home.socket.parent.rmdir()


def test_the_trainer_yields_to_the_others(home: Home) -> None:
    text = configuration([Service("t", ("x",), nice=10)], home, ROOT)
    assert "--nice 10" in text
    assert "100 %% ours" in text
