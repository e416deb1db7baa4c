"""A search's trials, as its child jobs tell them: the records and events are all the state it has.

So there is nothing to save and nothing to lose: whoever takes a search up again reads its
children, finishes what is open, and submits what is missing under the request ids that the
search and the trial's number give.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog
from optuna.trial import TrialState

from trainer.search.study import Trial
from wintergarden.errors import DataLoss, NotFound
from wintergarden.jobs import JobRecord, Jobs, JobState, MetricsReported, TrainingSpec
from wintergarden.jobs.records import SearchSpec

_MAX_CHILDREN = 100_000

_log = structlog.get_logger(__name__)

_STATES = {
    JobState.SUCCEEDED: TrialState.COMPLETE,
    JobState.CANCELLED: TrialState.PRUNED,
    JobState.FAILED: TrialState.FAIL,
}


@dataclass
class _Reports:
    """What a child has reported of the metric, by epoch, and how far its events were read."""

    cursor: str = ""
    is_whole: bool = False
    by_epoch: dict[int, float] = field(default_factory=dict)


class Trials:
    """The children of one search.

    Args:
        jobs: the records.
        search: the parent job.
        spec: of the search.
    """

    def __init__(self, jobs: Jobs, search: JobRecord, spec: SearchSpec) -> None:
        self._jobs = jobs
        self._search = search
        self._spec = spec
        self._reports: dict[str, _Reports] = {}
        self.children: list[JobRecord] = []
        """In order of their numbers; as of the last look."""

    def look(self) -> list[Trial]:
        """The trials as they stand now."""
        children = self._jobs.list(parent=self._search.id, limit=_MAX_CHILDREN)
        self.children = sorted(children, key=lambda job: _number(job.request_id))
        return [self._trial(number, job) for number, job in enumerate(self.children)]

    def submit(self, number: int, parameters: Mapping[str, Any]) -> JobRecord:
        """Queue a trial; one that was submitted already is answered and not doubled.

        Raises:
            FailedPrecondition: the search has ended, or is being cancelled.
        """
        training = dict(self._spec.training)
        training["hyperparameters"] = {**training.get("hyperparameters", {}), **parameters}
        training |= {"is_trial": True, "promote": ()}
        return self._jobs.submit(
            TrainingSpec(**training),
            f"{self._search.id}/trial/{number}",
            priority=self._search.priority,
            parent=self._search.id,
        )

    def prune(self, number: int) -> None:
        self._jobs.cancel(self.children[number].id)

    def _trial(self, number: int, job: JobRecord) -> Trial:
        state = _STATES.get(job.state, TrialState.RUNNING)
        reports = self._read_reports(job)
        value = None
        if state == TrialState.COMPLETE:
            value = job.metrics.get(self._spec.metric, _last(reports))
            state = state if value is not None else TrialState.FAIL
        chosen = getattr(job.spec, "hyperparameters", {})
        parameters = {name: chosen[name] for name in self._spec.space}
        return Trial(number, parameters, state, value, reports)

    def _read_reports(self, job: JobRecord) -> dict[int, float]:
        read = self._reports.setdefault(job.id, _Reports())
        if not read.is_whole:  # an archive is not read at each look
            try:
                self._read_on(job.id, read)
            except (DataLoss, NotFound) as exc:  # what its record says is left
                _log.warning("events of a trial are lost", job=job.id, error=exc.message)
                read.is_whole = True
        return dict(read.by_epoch)

    def _read_on(self, job_id: str, read: _Reports) -> None:
        for event in self._jobs.watch(job_id, read.cursor, follow=False):
            read.cursor, read.is_whole = event.cursor, event.is_last
            if isinstance(event.body, MetricsReported):
                value = event.body.values.get(self._spec.metric)
                epoch = event.body.values.get("epoch")
                if value is not None and epoch is not None:
                    read.by_epoch[int(epoch)] = value


def _number(request_id: str) -> int:
    return int(request_id.rpartition("/")[2])


def _last(reports: Mapping[int, float]) -> float | None:
    return reports[max(reports)] if reports else None
