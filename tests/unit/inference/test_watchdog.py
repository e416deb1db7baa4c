"""A process that hangs is ended; one that is merely gone is left to those who wait for it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from queue import Empty, SimpleQueue

import pytest

from services.inference.processes import paths
from services.inference.processes.link import Link
from services.inference.processes.members import Members
from services.inference.processes.watchdog import Watchdog
from wintergarden.service.testing import running
from wintergarden.service.transport import Call, Route, ServerOptions

OPTIONS = ServerOptions(transport="grpcio", linger_s=0.0)


@pytest.fixture
def hanging() -> Iterator[threading.Event]:
    release = threading.Event()
    yield release
    release.set()


def test_only_the_one_that_hangs_is_ended(tmp_path: Path, hanging: threading.Event) -> None:
    def hang(call: Call) -> None:
        hanging.wait(30)
        call.respond(b"")

    well = Route(paths.METRICS, lambda call: call.respond(b""))
    with (
        running([well], OPTIONS, address=f"unix:{tmp_path}/0"),
        running([Route(paths.METRICS, hang)], OPTIONS, address=f"unix:{tmp_path}/1"),
    ):
        members = Members()
        for number in range(3):  # nobody serves as 2
            members.add(number, Link(f"process {number}", f"{tmp_path}/{number}"))
        killed: SimpleQueue[int] = SimpleQueue()

        def kill(number: int) -> None:
            members.remove(number)
            killed.put(number)

        watchdog = Watchdog(members, kill, look_s=0.05, limit_s=2)  # a loaded machine is slow
        watchdog.start()
        assert killed.get(timeout=20) == 1
        with pytest.raises(Empty):
            killed.get(timeout=3)
        watchdog.stop()
        members.close()
