"""The training process that is kept ready."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainer.testing import eventually, has_ended
from wintergarden.worker.child_process import ChildProcess
from wintergarden.worker.standby import Standby, newest_source

# Says who it is and what it was told; with --warm it says so.
ECHO = (
    "import json, os, sys\n"
    "line = sys.stdin.readline()\n"
    "text = f'{os.getpid()} {sys.argv[1:]} {line.strip()}'\n"
    "if line: print(json.dumps({'type': 'log', 'text': text}), flush=True)\n"
)
COMMAND = [sys.executable, "-c", ECHO]
KEY = "TRAINER_REDIS_URL"


class Source:
    """When the code was changed last."""

    changed_at = 0.0


@pytest.fixture
def standby() -> Iterator[Standby]:
    opened = Standby(COMMAND, newest_source=lambda: Source.changed_at)
    yield opened
    opened.close()


def waiting_process(standby: Standby) -> ChildProcess:
    child = standby._waiting
    assert child
    return child


def said(child: ChildProcess) -> str:
    with child:
        message = eventually(lambda: child.receive(1.0))
        return str(message.text)


def test_an_order_goes_to_the_process_that_waits(standby: Standby) -> None:
    standby.prepare()
    pid = waiting_process(standby).pid
    standby.prepare()
    assert waiting_process(standby).pid == pid
    assert said(standby.start({"a": 1})) == f"{pid} ['--warm'] {{\"a\": 1}}"
    assert " [] " in said(standby.start({})), "the next one is not warm: nobody prepared it"


def test_without_one_that_waits_a_new_one_is_started() -> None:
    cold = Standby(COMMAND, is_warm=False)
    cold.prepare()
    assert " [] " in said(cold.start({}))
    with pytest.raises(OSError, match="No such file"):
        Standby(["/no/such/python"]).start({})


def test_one_that_has_died_is_replaced(standby: Standby) -> None:
    standby.prepare()
    first = waiting_process(standby)
    os.kill(first.pid, signal.SIGKILL)
    eventually(lambda: first.has_ended)
    standby.prepare()
    assert waiting_process(standby).pid != first.pid
    os.kill(waiting_process(standby).pid, signal.SIGKILL)
    eventually(lambda: waiting_process(standby).has_ended)
    assert " [] " in said(standby.start({}))


def test_one_that_is_older_than_the_code_is_replaced(
    standby: Standby, monkeypatch: pytest.MonkeyPatch
) -> None:
    standby.prepare()
    old = waiting_process(standby)
    monkeypatch.setattr(Source, "changed_at", time.time() + 60)
    assert " [] " in said(standby.start({}))
    assert has_ended(old.pid)


def test_the_code_is_that_of_the_trainer_and_of_what_it_imports() -> None:
    import wintergarden.errors
    import wintergarden.worker.supervisor

    for module in (wintergarden.worker.supervisor, wintergarden.errors):
        assert module.__file__
        assert newest_source() >= Path(module.__file__).stat().st_mtime


def test_it_ends_when_it_is_closed(standby: Standby) -> None:
    standby.prepare()
    child = waiting_process(standby)
    standby.close()
    assert has_ended(child.pid)
    standby.prepare()
    assert standby._waiting is None


def test_a_command_that_is_none_is_no_error_until_it_is_needed() -> None:
    broken = Standby(["/no/such/python"])
    broken.prepare()
    with pytest.raises(OSError, match="No such file"):
        broken.start({})


def test_a_real_one_ends_with_its_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though nobody closed it. Until then it knows no secrets of the worker's."""
    monkeypatch.setenv(KEY, "redis://:secret@127.0.0.1/0")
    code = (
        "import sys, time\n"
        "from wintergarden.worker.standby import Standby\n"
        "standby = Standby([sys.executable, '-m', 'trainer.child'])\n"
        "standby.prepare()\n"
        "print(standby._waiting.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as worker:
        assert worker.stdout
        pid = int(worker.stdout.readline())
        assert KEY not in Path(f"/proc/{pid}/environ").read_text()
        worker.kill()
    eventually(lambda: has_ended(pid), 60)
