"""A real timer's signals, counted by the kernel as sleeps of the thread."""

import ctypes
import hashlib
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from services.inference.scheduling.interruptions import interrupted

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="timers that notify a thread")

CONTENT = bytes(64 * 2**20)


@pytest.fixture
def apart():
    """A thread to be interrupted."""
    with ThreadPoolExecutor(1) as pool:
        yield lambda task: pool.submit(task).result(timeout=60)


def sleeps():
    """How often the calling thread has given up the processor of its own accord."""
    status = Path(f"/proc/self/task/{threading.get_native_id()}/status").read_text()
    return int(status.split("\nvoluntary_ctxt_switches:")[1].split()[0])


def timers():
    """This process's timers, as far as the kernel lists them."""
    listed = Path("/proc/self/timers")
    return listed.read_text().count("signal:") if listed.exists() else 0


def compute():
    before = sleeps()
    digest = hashlib.sha256(CONTENT).hexdigest()
    return digest, sleeps() - before


def test_who_computes_sleeps_often_and_gets_the_same(apart):
    def work():
        with interrupted():
            return compute()

    (plain, few), (same, many) = apart(compute), apart(work)
    assert same == plain
    assert many > 20 > few


def test_the_timer_goes_with_the_context(apart):
    before = timers()

    def work():
        with interrupted():
            inside = timers()
        return inside, compute()[1]

    inside, afterwards = apart(work)
    assert inside in (before + 1, 0)  # 0: the kernel lists none
    assert timers() == before
    assert afterwards < 20


def test_calls_that_wait_are_begun_again(apart):
    reading, writing = os.pipe()
    libc = ctypes.CDLL(None, use_errno=True)

    def work():
        letter = ctypes.create_string_buffer(1)
        with interrupted():  # by hand, for Python itself would begin again
            return libc.read(reading, letter, 1), letter.value

    timer = threading.Timer(0.2, os.write, (writing, b"x"))
    timer.start()
    try:
        assert apart(work) == (1, b"x")
    finally:
        timer.join()
        os.close(reading)
        os.close(writing)


def test_other_threads_are_left_alone(apart):
    def work():
        with interrupted():
            time.sleep(0.1)
            return in_another(compute)[1]

    def in_another(task):
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(task).result()

    assert apart(work) < 20


def test_a_signal_that_is_somebody_elses_stays_theirs():
    """In a process of its own, whose signals are nobody else's."""
    script = f"""
import signal
seen = []
signal.signal(signal.SIGRTMIN, lambda *_: seen.append(1))
from services.inference.scheduling.interruptions import interrupted
import time
with interrupted():
    until = time.monotonic() + 0.1
    while time.monotonic() < until:
        pass
assert not seen, len(seen)
signal.raise_signal({int(signal.SIGRTMIN)})
assert seen == [1]
"""
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
