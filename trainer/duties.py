"""What trainers do beside what every worker does: publish, promote, search."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

from trainer.catalogue import Catalogue
from trainer.kinds import SEARCH, routes
from trainer.promotion import Promoter
from trainer.publication import find_published, release_uri
from trainer.search.threads import SearchThreads
from trainer.settings import Settings
from wintergarden.jobs import Attempt, JobRecord, Jobs
from wintergarden.worker.duties import Duties
from wintergarden.worker.messages import Result


class TrainerDuties(Duties):
    """Of one trainer.

    Args:
        settings: of this process.
        jobs: the records.
        catalogue: knows the devices there are; None: there is a CPU.
    """

    last_phase = "export"

    def __init__(self, settings: Settings, jobs: Jobs, catalogue: Catalogue | None = None) -> None:
        self._settings = settings
        self._jobs = jobs
        self._catalogue = catalogue
        self._searches = SearchThreads(jobs, settings.store_uri, threading.Event())

    @property
    def routes(self) -> tuple[str, ...]:  # type: ignore[override]
        return routes(has_cuda=self._catalogue is not None and self._catalogue.has_cuda)

    @property
    def possible_routes(self) -> tuple[str, ...]:
        return routes(has_cuda=True)

    def order_fields(self, job: JobRecord) -> Mapping[str, Any]:
        return {
            "release_uri": release_uri(self._settings.store_uri, job),
            "tensorboard_dir": str(self._settings.tensorboard_dir or ""),
        }

    def find_published(self, job: JobRecord) -> Result | None:
        found = find_published(self._settings.store_uri, job)
        if found is None:
            return None
        return Result(
            type="result", model=found.model, version=found.version, metrics=dict(found.metrics)
        )

    def follow_up(
        self, attempt: Attempt, result: Result, *, is_first: bool, beat: Callable[[], None]
    ) -> Callable[[], None]:
        """Make the version stable where that was asked for."""
        if not result.version:
            return lambda: None
        promoter = Promoter(
            self._settings.store_uri,
            attempt,
            result.model,
            result.version,
            is_first=is_first,
            beat=beat,
        )
        return promoter.run

    def begin(self, is_stopping: threading.Event) -> None:
        self._searches = SearchThreads(self._jobs, self._settings.store_uri, is_stopping)

    def take_aside(self, attempt: Attempt) -> bool:
        if attempt.job.kind != SEARCH:
            return False
        self._searches.start(attempt)
        return True

    def join(self, timeout_s: float) -> None:
        self._searches.join(timeout_s)
