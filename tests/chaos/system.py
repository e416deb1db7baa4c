"""Every process of a deployment that does jobs, each of which can be killed and stopped."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from wintergarden.jobs.testing import ValkeyServer, free_port

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
LEASE_S = 3.0
WORKERS = 3


class Process:
    """A command that is started again after it was killed."""

    def __init__(self, arguments: tuple[str, ...], environment: Mapping[str, str], log: Path):
        self._arguments = arguments
        self._environment = os.environ | environment
        self._log = log
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                self._arguments, cwd=ROOT, env=self._environment, stderr=log
            )

    def restart_if_ended(self) -> None:
        """As a supervisor of services does."""
        if self.process is not None and self.process.poll() is not None:
            self.start()

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def send(self, number: int) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    def children(self) -> list[psutil.Process]:
        """The processes of a worker that do its jobs."""
        if self.process is None:
            return []
        with suppress(psutil.NoSuchProcess):
            return psutil.Process(self.process.pid).children()
        return []


class System:
    """Redis, a gateway, three workers that train and one that explains, on one store.

    Args:
        folder: of everything they write.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = folder / "store"
        self.traces = folder / "traces"
        self.traces.mkdir(parents=True)
        (folder / "redis").mkdir()
        self.redis = ValkeyServer(folder / "redis")
        self.address = f"127.0.0.1:{free_port()}"
        self.gateway = Process(
            (sys.executable, "-m", "gateway"),
            {
                "GATEWAY_ADDRESS": self.address,
                "GATEWAY_METRICS_ADDRESS": "127.0.0.1:0",
                "GATEWAY_STORE_URI": str(self.store),
                "GATEWAY_REDIS_URL": self.redis.url(),
                "GATEWAY_UPLOAD_DIR": str(folder / "uploads"),
                # Being killed counts as failing, and here that is all that happens.
                "GATEWAY_MAX_ATTEMPTS": "1000",
            },
            folder / "gateway.log",
        )
        self.workers = [self._worker(number) for number in range(WORKERS)]
        self.workers.append(self._explanation_worker())
        self._opened = ExitStack()

    def __enter__(self) -> Self:
        self._opened.enter_context(self.redis)
        for process in (self.gateway, *self.workers):
            self._opened.callback(self._end, process)
            process.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._opened.close()

    @staticmethod
    def _end(process: Process) -> None:
        children = process.children()
        process.send(signal.SIGCONT)
        process.kill()
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.resume()
                child.kill()
        psutil.wait_procs(children, timeout=30)

    def _explanation_worker(self) -> Process:
        variables = {
            "REDIS_URL": self.redis.url(),
            "STORE_URI": str(self.store),
            "WORK_DIR": str(self.folder / "explanations"),
            "WORKER_NAME": "explainer",
            "METRICS_ADDRESS": "127.0.0.1:0",
            "LEASE_S": str(LEASE_S),
            "ROUNDS_S": "1",
            "GRACE_S": "5",
            "STALL_EXPLAIN_S": str(2 * LEASE_S),
            "INTRA_OP_THREADS": "1",
        }
        return Process(
            (sys.executable, "-m", "services.explanation.worker"),
            {f"EXPLANATION_WORKER_{name}": text for name, text in variables.items()},
            self.folder / "explainer.log",
        )

    def _worker(self, number: int) -> Process:
        child = (sys.executable, str(HERE / "traced_child.py"), str(self.traces))
        return Process(
            (sys.executable, "-m", "trainer"),
            {
                "TRAINER_REDIS_URL": self.redis.url(),
                "TRAINER_STORE_URI": str(self.store),
                "TRAINER_WORK_DIR": str(self.folder / f"work-{number}"),
                "TRAINER_WORKER_NAME": f"worker-{number}",
                "TRAINER_METRICS_ADDRESS": "127.0.0.1:0",
                "TRAINER_LEASE_S": str(LEASE_S),
                "TRAINER_ROUNDS_S": "1",
                "TRAINER_GRACE_S": "5",
                "TRAINER_STALL_TRAIN_S": str(2 * LEASE_S),
                "TRAINER_CHECKPOINT_INTERVAL_S": "0.5",
                "TRAINER_CHILD_COMMAND": shlex.join(child),
                "PYTHONPATH": str(ROOT),
                "OMP_NUM_THREADS": "1",
            },
            self.folder / f"worker-{number}.log",
        )
