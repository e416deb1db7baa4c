"""What can be trained, and on what, asked of a training process: only it may import torch."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Sequence
from typing import Any

import structlog

from wintergarden.jobs import Jobs

_TIMEOUT_S = 300.0
_PATIENCE_S = 30.0

_log = structlog.get_logger(__name__)


class Catalogue:
    """Collected once, in the background, and published as often as asked.

    Args:
        jobs: where it is published.
        command: what trains; with `--catalogue` it prints the catalogue.
    """

    def __init__(self, jobs: Jobs, command: Sequence[str]) -> None:
        self._jobs = jobs
        self._command = [*command, "--catalogue"]
        self._collected: dict[str, Any] | None = None
        self.is_published = False
        self.devices: tuple[str, ...] = ()
        """What trainings can run on here; empty before that is known."""

    @property
    def has_cuda(self) -> bool:
        return any(device.startswith("cuda") for device in self.devices)

    def start(self) -> None:
        threading.Thread(target=self._collect, name="catalogue", daemon=True).start()

    def publish(self) -> None:
        """Where it is missing or another: Redis may have been emptied, or the code be new."""
        if self._collected is not None:
            self._jobs.publish_catalogue(self._collected)
            self.is_published = True

    def _collect(self) -> None:
        while self._collected is None:
            try:
                ran = subprocess.run(
                    self._command, capture_output=True, check=True, timeout=_TIMEOUT_S
                )
                catalogue = json.loads(ran.stdout)
                # Of this machine alone; the rest is published for all of them.
                self.devices = tuple(catalogue.pop("devices", ("cpu",)))
                counts = {name: len(catalogue[name]) for name in catalogue}
                _log.info("catalogue collected", devices=self.devices, **counts)
                self._collected = catalogue
            except subprocess.CalledProcessError as exc:
                tail = exc.stderr.decode(errors="replace")[-2_000:]
                _log.error("the catalogue could not be collected", exit=exc.returncode, tail=tail)
                time.sleep(_PATIENCE_S)
            except (OSError, ValueError, subprocess.TimeoutExpired) as exc:
                _log.error("the catalogue could not be collected", error=str(exc))
                time.sleep(_PATIENCE_S)
