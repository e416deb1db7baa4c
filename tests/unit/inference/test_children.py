"""Processes that are started again, also when that takes more than one attempt."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from queue import SimpleQueue
from time import monotonic, sleep

import pytest
from structlog.testing import capture_logs

from services.inference.processes.children import Children

LIVING = [sys.executable, "-c", "import time; time.sleep(60)"]
# As when a fork fails, what the operating system says is an OSError.
NOT_TO_BE_STARTED = ["/no/such/program"]


class Commands:
    """One for each start, the last one for all that follow."""

    def __init__(self, *commands: list[str]) -> None:
        self._commands = list(commands)

    def describe(self, _number: int, _is_late: bool) -> tuple[list[str], Mapping[str, str]]:
        left = self._commands
        return left.pop(0) if len(left) > 1 else left[0], {}


@pytest.fixture
def ended() -> SimpleQueue[int]:
    return SimpleQueue()


@pytest.fixture
def children(ended: SimpleQueue[int]) -> Iterator[Children]:
    commands = Commands(LIVING, NOT_TO_BE_STARTED, NOT_TO_BE_STARTED, LIVING)
    children = Children(
        1,
        commands.describe,
        on_end=ended.put,
        has_begun=lambda: True,
        on_failure=pytest.fail,
    )
    yield children
    children.stop(0)


def test_one_that_cannot_be_started_now_is_started_later(
    children: Children, ended: SimpleQueue[int]
) -> None:
    with capture_logs() as logs:
        children.start()
        (first,) = children.pids().values()
        children.kill(0)
        assert ended.get(timeout=10) == 0
        end = monotonic() + 20
        while not children.pids():
            assert monotonic() < end
            sleep(0.01)
    assert children.pids() != {0: first}
    events = [entry["event"] for entry in logs]
    assert events.count("a process could not be started") == 2
