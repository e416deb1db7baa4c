"""Where processes wait for one another with a version that each has loaded.

A version answers in all processes or in none, and begins to within a moment in all.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from time import monotonic

# A process that is slow to notice what there is to load holds the others up no longer.
LIMIT_S = 60.0


@dataclass
class _Meeting:
    arrived: set[int] = field(default_factory=set)
    problem: str = ""
    is_over: bool = False


class Rendezvous:
    """Meetings by version of a model."""

    def __init__(self, members: Callable[[], Collection[int]], limit_s: float = LIMIT_S) -> None:
        """`members` are the processes that answer requests now."""
        self._members = members
        self._limit_s = limit_s
        self._meetings: dict[tuple[str, int], _Meeting] = {}
        self._changed = threading.Condition()

    def meet(self, process: int, name: str, version: int, problem: str = "") -> str:
        """Wait until all members have come, or one has failed.

        Args:
            process: which of them comes; one that does not answer yet waits for nobody.
            name: of the model.
            version: its number.
            problem: why this process could not load it; empty when it could.

        Returns:
            Why the version is not to be served; empty when it is.
        """
        key = (name, version)
        with self._changed:
            if process not in self._members():
                return problem
            meeting = self._meetings.setdefault(key, _Meeting())
            meeting.arrived.add(process)
            meeting.problem = meeting.problem or problem
            self._changed.notify_all()
            until = monotonic() + self._limit_s
            while not self._is_over(meeting) and monotonic() < until:
                self._changed.wait(until - monotonic())
            meeting.is_over = True
            if meeting.arrived.issuperset(self._members()):
                self._meetings.pop(key, None)
            self._changed.notify_all()
            return meeting.problem

    def members_changed(self) -> None:
        """A process has died or been added: nobody need wait for the dead."""
        with self._changed:
            self._changed.notify_all()

    def _is_over(self, meeting: _Meeting) -> bool:
        return (
            meeting.is_over or bool(meeting.problem) or meeting.arrived.issuperset(self._members())
        )
