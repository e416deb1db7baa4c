"""Threads of a real kernel, as it lists them."""

import os
import platform
import re
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from services.inference.app import create
from services.inference.scheduling.priorities import (
    at_low_priority,
    lower_for_long_runs,
    serve_promptly,
)
from services.inference.settings import InferenceSettings
from wintergarden.errors import DataLoss

HEEDS_SLICES = tuple(map(int, re.findall(r"\d+", platform.release())[:2])) >= (6, 12)
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="slices of threads")


def niceness():
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def slices():
    """The calling thread's slice in nanoseconds; empty where the kernel does not tell."""
    status = Path(f"/proc/self/task/{threading.get_native_id()}/sched").read_text()
    return [float(found) for found in re.findall(r"se\.slice\s*:\s*([\d.]+)", status)]


@pytest.fixture(autouse=True)
def _same_interval():
    before = sys.getswitchinterval()
    yield
    sys.setswitchinterval(before)


def in_a_thread(task):
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(task).result()


@pytest.mark.skipif(os.name != "posix", reason="nice values")
def test_loading_does_not_lower_the_priority_of_the_caller():
    before = niceness()
    assert at_low_priority(niceness) > before
    assert niceness() == before


@LINUX
def test_long_runs_are_interrupted_and_keep_their_share():
    def look():
        lower_for_long_runs()
        return os.sched_getscheduler(0), niceness(), slices()

    policy, lowered, seen = in_a_thread(look)
    assert policy == os.SCHED_BATCH
    if HEEDS_SLICES:
        assert lowered == niceness()
        assert all(slice_ns == 100e6 for slice_ns in seen)
    else:
        assert lowered > niceness()


@LINUX
def test_what_serves_has_short_slices_and_hands_them_on():
    def look():
        before = os.sched_getscheduler(0), niceness()
        serve_promptly()
        assert (os.sched_getscheduler(0), niceness()) == before
        return slices(), in_a_thread(slices)

    mine, inherited = in_a_thread(look)
    assert mine == inherited
    if HEEDS_SLICES:
        assert all(slice_ns == 100e3 for slice_ns in mine)


def test_what_serves_waits_shortly_for_the_lock():
    before = sys.getswitchinterval()
    in_a_thread(serve_promptly)
    assert sys.getswitchinterval() < before / 2


@pytest.mark.parametrize(("transport", "is_prompt"), [("native", True), ("grpcio", False)])
def test_only_the_native_transport_interrupts_long_runs(tmp_path, transport, is_prompt):
    """Under grpcio, whose event loop wakes up for every message, overload loses goodput by it."""
    settings = InferenceSettings(
        store_uri=str(tmp_path), address="127.0.0.1:0", transport=transport
    )
    before = sys.getswitchinterval()
    in_a_thread(lambda: create(settings)).stop(0)
    assert (sys.getswitchinterval() < before / 2) is is_prompt


def test_errors_cross_the_thread():
    def fail():
        raise DataLoss("gone")

    with pytest.raises(DataLoss, match="gone"):
        at_low_priority(fail)
