"""The state directory: everything that outlives a run, and who uses it now."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from wintergarden.errors import FailedPrecondition

# sockaddr_un.sun_path holds 108 bytes on Linux and 104 on macOS, the final zero included.
_LONGEST_SOCKET_PATH = 100


@dataclass(frozen=True)
class Home:
    """Layout: store/ and valkey/ are the data, logs/ is for people, run/ is of this run only."""

    path: Path

    @property
    def store(self) -> Path:
        return self.path / "store"

    @property
    def valkey(self) -> Path:
        return self.path / "valkey"

    @property
    def work(self) -> Path:
        return self.path / "work"

    @property
    def uploads(self) -> Path:
        """Files on their way: what broke off goes on after a restart."""
        return self.path / "uploads"

    @property
    def run(self) -> Path:
        return self.path / "run"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def ready_file(self) -> Path:
        """Says where to reach the system; exists while every service is serving."""
        return self.run / "ready.json"

    @property
    def socket(self) -> Path:
        """The inference service's Unix socket."""
        inside = self.run / "inference.sock"
        if len(os.fsencode(inside)) < _LONGEST_SOCKET_PATH:
            return inside
        name = hashlib.sha256(os.fsencode(self.path)).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"wintergarden-{os.getuid()}-{name}" / "i.sock"

    def log_of(self, service: str) -> Path:
        return self.logs / f"{service}.log"

    def lock_of(self, service: str) -> Path:
        return self.run / f"{service}.lock"

    def prepare(self) -> None:
        for directory in (self.store, self.valkey, self.work, self.run, self.logs):
            directory.mkdir(parents=True, exist_ok=True)
        # Holds a password and sockets.
        self.run.chmod(0o700)
        self.socket.parent.mkdir(mode=0o700, exist_ok=True)
        if self.socket.parent.stat().st_uid != os.getuid():
            raise FailedPrecondition(f"{self.socket.parent} belongs to another user; remove it")

    @contextlib.contextmanager
    def occupied(self) -> Iterator[None]:
        """While this holds, nobody else runs the system on this directory.

        Raises:
            FailedPrecondition: somebody does; the message says who.
        """
        with self.lock_of("up").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise FailedPrecondition(
                    f"{self.path} is in use by `wintergarden up` with process id {file.read()}; "
                    "stop that one, or choose another directory with --home"
                ) from None
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            self.ready_file.unlink(missing_ok=True)
            try:
                yield
            finally:
                self.ready_file.unlink(missing_ok=True)

    def leftovers(self) -> dict[str, str]:
        """Services of an earlier run that are still ending: process id by name."""
        return {
            lock.stem: lock.read_text()
            for lock in self.run.glob("*.lock")
            if lock.stem != "up" and _is_held(lock)
        }

    def wait_for_leftovers(self, limit_s: float, say: Callable[[str], None]) -> None:
        """An earlier run that was killed may still be ending.

        Raises:
            FailedPrecondition: it does not end; the message names the processes.
        """
        give_up_at = time.monotonic() + limit_s
        said = False
        while left := self.leftovers():
            who = ", ".join(f"{name} (process id {pid})" for name, pid in sorted(left.items()))
            if time.monotonic() > give_up_at:
                raise FailedPrecondition(
                    f"an earlier run on {self.path} has not ended: {who}; end these processes"
                )
            if not said:
                say(f"waiting for an earlier run to end: {who}")
                said = True
            time.sleep(0.1)


def _is_held(lock: Path) -> bool:
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
