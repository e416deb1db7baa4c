"""For tests of the training process: a real one, at the other end of its pipes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

COMMAND = (sys.executable, "-m", "trainer.child")
_SERVE_LINES = """
import sys
from trainer.kinds import MODULES
from trainer.order import DEFAULT_KIND
from wintergarden.worker.child import serve
from wintergarden.worker.control import Control

control = Control(is_alone=True)
for text in sys.stdin:
    serve(control, text, MODULES, DEFAULT_KIND)
"""
ONE_AFTER_ANOTHER = (sys.executable, "-c", _SERVE_LINES)
"""What the child does, without its seconds of imports for each order."""


def order(store: Path, **changes: Any) -> dict[str, Any]:
    """An order to train, whose store is also its work directory."""
    return {
        "job_id": "job-1",
        "model": "wine",
        "architecture": "mlp",
        "dataset": "wine",
        "hyperparameters": {"epochs": 20},
        "seed": 3,
        "store_uri": str(store),
        "work_dir": str(store),
    } | changes


class Child:
    """A training process, spoken to as its supervisor does."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def send(self, message: dict[str, Any]) -> None:
        assert self.process.stdin is not None  # noqa: S101
        self.process.stdin.write(json.dumps(message) + "\n")
        self.process.stdin.flush()

    def hear(self, *kinds: str) -> dict[str, Any]:
        """The next message of one of these kinds."""
        assert self.process.stdout is not None  # noqa: S101
        for line in self.process.stdout:
            message: dict[str, Any] = json.loads(line)
            if message["type"] in kinds:
                return message
        raise AssertionError(f"it ended without {kinds}")


@contextmanager
def child(
    first: dict[str, Any], command: Sequence[str] = COMMAND, **variables: str
) -> Iterator[Child]:
    """Started with an order; killed at the end if it has not ended by itself."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | variables,
    )
    try:
        started = Child(process)
        started.send(first)
        yield started
    finally:
        process.kill()
        process.communicate()
