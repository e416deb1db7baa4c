"""The training process's end of the pipes."""

from __future__ import annotations

import json
import subprocess
import sys
import time

# A call that keeps every other thread from running, as some of an export do.
_BUSY = """
import ctypes, sys, time
from wintergarden.worker.control import Control
control = Control()
control.listen(time.time() + 1.0)
print("listening", file=sys.stderr, flush=True)
ctypes.PyDLL(None).usleep(2_000_000)
control.check()
"""


def test_a_renewal_that_no_thread_could_hear_yet_counts() -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", _BUSY], stdin=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert child.stdin
    assert child.stderr
    assert child.stderr.readline() == b"listening\n"
    child.stdin.write(json.dumps({"renewed_until": time.time() + 60}).encode() + b"\n")
    child.stdin.flush()
    code = child.wait(timeout=30)  # with its input open: the end of that would mean something else
    _, errors = child.communicate()
    assert code == 0, errors.decode()


def test_a_lease_that_nobody_renews_ends_the_work() -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", _BUSY], stdin=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert child.stderr
    assert child.stderr.readline() == b"listening\n"
    assert child.wait(timeout=30) == 1
    _, errors = child.communicate()
    assert b"the lease was not renewed in time" in errors


def test_renewals_are_heard_while_the_process_still_imports() -> None:
    """A start from cold may take longer than a lease."""
    child = subprocess.Popen(
        [sys.executable, "-m", "trainer.child"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdin
    assert child.stdout
    order = {"architecture": "none", "dataset": "none", "store_uri": "/nowhere"}
    lines = [order | {"renewed_until": time.time() + 0.2}, {"renewed_until": time.time() + 60}]
    child.stdin.write("".join(f"{json.dumps(line)}\n" for line in lines).encode())
    child.stdin.flush()
    with child.stdin, child.stdout as output:
        said = [json.loads(line) for line in output]
        child.wait(timeout=60)
    assert (said[-1]["type"], said[-1]["kind"]) == ("error", "invalid"), said


def test_renewals_that_waited_are_heard_before_the_first_look_at_the_lease() -> None:
    """A process that was still importing when its order came finds both in the pipe."""
    code = (
        "import json\n"
        "from wintergarden.worker.control import Control\n"
        "control = Control()\n"
        "control.listen(json.loads(control.read_order())['renewed_until'])\n"
        "control.check()\n"
    )
    lines = [{"renewed_until": time.time() - 1}, {"renewed_until": time.time() + 60}]
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    for _ in range(5):
        child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, text=True)
        assert child.stdin
        with child.stdin:
            child.stdin.write(text)
            child.stdin.flush()
            assert child.wait(timeout=60) == 0
