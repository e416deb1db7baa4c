"""The processes that answer requests now, and questions to all of them at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from services.inference.processes.link import Link
from wintergarden.errors import Unavailable
from wintergarden.service.errors import StatusError

Outcome = bytes | StatusError | Unavailable


class Members:
    """Links by the number of the process. Thread-safe."""

    def __init__(self) -> None:
        self.on_change: Callable[[], None] = lambda: None
        self._links: dict[int, Link] = {}
        self._lock = threading.Lock()
        self._pool = ThreadPoolExecutor(64, thread_name_prefix="members")

    def __contains__(self, process: int) -> bool:
        return process in self._links

    def __len__(self) -> int:
        return len(self._links)

    def numbers(self) -> set[int]:
        return set(self._links)

    def add(self, process: int, link: Link) -> None:
        with self._lock:
            self._links = {**self._links, process: link}
        self.on_change()

    def remove(self, process: int) -> None:
        """It has died: nobody asks it or waits for it any more."""
        with self._lock:
            link = self._links.get(process)
            self._links = {n: each for n, each in self._links.items() if n != process}
        if link is not None:
            link.close()
        self.on_change()

    def ask(
        self, path: str, payload: bytes = b"", timeout_s: float | None = None
    ) -> Mapping[int, Outcome]:
        """What each of them answers, of those that are alive when the last one has."""
        links = self._links
        asked = {
            process: self._pool.submit(_ask, link, path, payload, timeout_s)
            for process, link in links.items()
        }
        outcomes = {process: future.result() for process, future in asked.items()}
        return {n: o for n, o in outcomes.items() if self._links.get(n) is links[n]}

    def answers(
        self, path: str, payload: bytes = b"", timeout_s: float | None = None
    ) -> list[bytes]:
        """The answers of those that gave one.

        Raises:
            StatusError: nobody did, but said why.
            Unavailable: nobody is there.
        """
        outcomes = self.ask(path, payload, timeout_s)
        given = [outcome for outcome in outcomes.values() if isinstance(outcome, bytes)]
        if not given:
            raise first_error(outcomes)
        return given

    def close(self) -> None:
        for process in self.numbers():
            self.remove(process)
        self._pool.shutdown(wait=False, cancel_futures=True)


def first_error(outcomes: Mapping[int, Outcome]) -> Exception:
    """What to tell the caller, of several; rather what was said than silence."""
    errors = [outcome for outcome in outcomes.values() if isinstance(outcome, Exception)]
    said = [error for error in errors if isinstance(error, StatusError)]
    nobody = Unavailable("no process of the server is ready; try again")
    return next(iter([*said, *errors]), nobody)


def _ask(link: Link, path: str, payload: bytes, timeout_s: float | None) -> Outcome:
    try:
        return link.call(path, payload, timeout_s)
    except (StatusError, Unavailable) as error:
        return error
