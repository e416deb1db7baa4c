"""People who watch every job from its first event to its last, whatever happens meanwhile."""

from __future__ import annotations

import threading

from wintergarden.client import Client, Event
from wintergarden.errors import Unavailable


class Watcher:
    """Follows one job through the gateway, and goes on where it was after every loss."""

    def __init__(self, address: str, job_id: str) -> None:
        self.events: list[Event] = []
        self._address = address
        self._job_id = job_id
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    @property
    def is_over(self) -> bool:
        return not self._thread.is_alive()

    def join(self, timeout_s: float) -> None:
        self._thread.join(timeout_s)

    def _watch(self) -> None:
        with Client(self._address, retry_for_s=300) as client:
            while True:
                cursor = self.events[-1].cursor if self.events else ""
                try:
                    for event in client.jobs.watch(self._job_id, cursor=cursor):
                        self.events.append(event)
                    return
                except Unavailable:  # longer than the client's own patience
                    continue
