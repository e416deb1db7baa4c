"""What a worker does for its own kinds of jobs and no others: a room's side of the machinery."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from wintergarden.jobs import Attempt, JobRecord
from wintergarden.worker.messages import Result


class Duties:
    """Of a worker whose jobs publish nothing; a room overrides what it does otherwise.

    Attributes:
        process: what messages call the process that does a job.
        last_phase: of a job, in which the worker gets the next process ready.
        memory_hint: how a job that ran out of memory would need less.
        routes: the queues that jobs are taken from.
    """

    process = "training process"
    last_phase = "publish"
    memory_hint = "a smaller batch_size needs less"
    routes: tuple[str, ...] = ()

    @property
    def possible_routes(self) -> tuple[str, ...]:
        """All queues that the worker may turn out to be fit for."""
        return self.routes

    def order_fields(self, job: JobRecord) -> Mapping[str, Any]:
        """What an order says beside the specification and what every order says."""
        return {}

    def find_published(self, job: JobRecord) -> Result | None:
        """What an earlier attempt has published and not told; None: there is nothing."""
        return None

    def follow_up(
        self, attempt: Attempt, result: Result, *, is_first: bool, beat: Callable[[], None]
    ) -> Callable[[], None]:
        """What is still to be done before the job is said to have succeeded.

        It may be called again where Redis did not answer, and may raise what an attempt raises.

        Args:
            attempt: that holds the job.
            result: what was published.
            is_first: by this attempt, not by an earlier one.
            beat: to be called while it goes on.
        """
        return lambda: None

    def begin(self, is_stopping: threading.Event) -> None:
        """The worker starts; the event is set when it is to stop."""

    def take_aside(self, attempt: Attempt) -> bool:
        """Whether the job is done here, beside the slots; it is then under way."""
        return False

    def join(self, timeout_s: float) -> None:
        """Wait for what was taken aside, which has been asked to stop."""
