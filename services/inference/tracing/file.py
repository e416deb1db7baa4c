"""Where traces are written: files of one directory, by a thread that requests do not wait for."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Sequence
from pathlib import Path
from queue import SimpleQueue

import structlog

from wintergarden.errors import InvalidArgument, Unsupported

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,199}")

_log = structlog.get_logger(__name__)


class TraceDirectory:
    """The only place where traces may go.

    Several processes of one server need files of their own: each has its suffix.
    """

    def __init__(self, path: Path | None, suffix: str = "") -> None:
        """`path` None: nowhere, so that nothing can be traced."""
        self._path = path
        self._suffix = suffix
        self._orders: SimpleQueue[tuple[Path, Sequence[str]] | threading.Event] = SimpleQueue()
        self._changing = threading.Lock()
        self._thread: threading.Thread | None = None
        self._plain: set[str] = set()  # files that have been written, by their settings' names
        self._numbers: dict[str, int] = {}

    def check(self, name: str) -> None:
        """Whether a file of that name may be written.

        Raises:
            Unsupported: the server has no directory for traces.
            InvalidArgument: the name is no plain file name.
        """
        self._file(name)

    def write(self, name: str, traces: Sequence[str], *, is_numbered: bool) -> None:
        """Write traces, later: to the file, or to the next of its numbered ones.

        To those too where the file itself has been written already.
        """
        path = self._file(name)
        with self._changing:
            if is_numbered or name in self._plain:
                number = self._numbers.get(name, 0)
                self._numbers[name] = number + 1
                path = path.with_name(f"{path.name}.{number}")
            else:
                self._plain.add(name)
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="traces", daemon=True)
                self._thread.start()
        self._orders.put((path, traces))

    def flush(self) -> None:
        """Wait until everything so far is written."""
        if self._thread is not None:
            written = threading.Event()
            self._orders.put(written)
            written.wait()

    def _file(self, name: str) -> Path:
        if self._path is None:
            raise Unsupported(
                "this server writes no traces; start it with --trace-directory "
                "(INFERENCE_TRACE_DIRECTORY)"
            )
        # Who gives the whole path of a file in the directory means that file.
        plain = name.removeprefix(f"{self._path}/")
        if not _NAME.fullmatch(plain):
            raise InvalidArgument(
                f"trace setting 'trace_file': {name!r:.200}; allowed: a plain file name, which "
                f"is written in {self._path}",
                field="settings.trace_file",
            )
        return self._path / f"{plain}{self._suffix}"

    def _work(self) -> None:
        while True:
            order = self._orders.get()
            if isinstance(order, threading.Event):
                order.set()
                continue
            path, traces = order
            try:
                _write(path, traces)
            except OSError as error:
                _log.warning("traces lost", file=str(path), error=str(error))


def _write(path: Path, traces: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # A link that somebody else put there is not followed.
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
    with os.fdopen(os.open(path, flags, 0o640), "w") as file:
        file.write("[")
        file.write(",".join(traces))
        file.write("]")
