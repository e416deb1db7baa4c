"""Starts the processes of a contender and ends them, with all their children."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO

import psutil
from contenders import ROOT, Command, Contender

START_S = 60.0


@contextmanager
def running(contender: Contender, logs: Path) -> Iterator[tuple[int, list[int]]]:
    """The port and the processes of a started contender; all of them end on leaving.

    Raises:
        RuntimeError: it did not start.
    """
    port = free_port()
    logs.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        log = stack.enter_context((logs / f"{contender.label}.log").open("ab"))
        processes = []
        for command in contender.commands(port, scratch):
            processes.append(start(command, log))
            stack.callback(end, processes[-1])
        until = time.monotonic() + START_S
        while processes and not listens(port):
            if time.monotonic() > until or any(p.poll() is not None for p in processes):
                raise RuntimeError(f"it did not start; see {log.name}")
            time.sleep(0.1)
        yield port, [p.pid for p in processes]


def start(command: Command, log: IO[bytes]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        command.arguments,
        cwd=ROOT,
        env=environment() | dict(command.variables),
        stdout=log,
        stderr=log,
        start_new_session=True,
    )


def end(process: subprocess.Popen[bytes]) -> None:
    """The process and its children: asked first, then made to."""
    tree: list[psutil.Process] = []
    with suppress(psutil.NoSuchProcess):
        parent = psutil.Process(process.pid)
        tree = [parent, *parent.children(recursive=True)]
    for number, patience_s in ((signal.SIGTERM, 8), (signal.SIGKILL, 5)):
        for member in tree:
            with suppress(psutil.NoSuchProcess):
                member.send_signal(number)
        _, tree = psutil.wait_procs(tree, timeout=patience_s)
    process.wait()


def environment() -> dict[str, str]:
    # One thread for each server's operators: otherwise a comparison of thread pools.
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def free_port() -> int:
    """With a free neighbour, for contenders of two processes."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            with suppress(OSError, OverflowError):
                second.bind(("127.0.0.1", port + 1))
                return port


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
