"""Ends processes that hang: what they hold up is the whole server's."""

from __future__ import annotations

import threading
from collections.abc import Callable

import grpc
import structlog

from services.inference.processes import paths
from services.inference.processes.members import Members, Outcome
from wintergarden.service.errors import StatusError

_LOOK_S = 5.0
# Far more than the longest that a loaded machine has kept a healthy process from answering.
_LIMIT_S = 60.0

_log = structlog.get_logger(__name__)


class Watchdog:
    """Asks every member, over and over, for what costs it little."""

    def __init__(
        self,
        members: Members,
        kill: Callable[[int], object],
        *,
        look_s: float = _LOOK_S,
        limit_s: float = _LIMIT_S,
    ) -> None:
        """Not watching yet.

        Args:
            members: who must answer.
            kill: ends a process by its number.
            look_s: between questions.
            limit_s: after which no answer is to be expected any more.
        """
        self._members = members
        self._kill = kill
        self._look_s = look_s
        self._limit_s = limit_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()

    def _watch(self) -> None:
        while not self._stopping.wait(self._look_s):
            for process, outcome in self._members.ask(
                paths.METRICS, timeout_s=self._limit_s
            ).items():
                if _is_silent(outcome) and not self._stopping.is_set():
                    _log.error("a process hangs and is ended", process=process)
                    self._kill(process)


def _is_silent(outcome: Outcome) -> bool:
    return (
        isinstance(outcome, StatusError)
        and outcome.status.code is grpc.StatusCode.DEADLINE_EXCEEDED
    )
