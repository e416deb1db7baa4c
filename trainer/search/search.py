"""Carries a search out: submits trials, gives up hopeless ones, publishes the best one's model.

Runs in a thread of a worker and needs no torch: its trials are training jobs like any other,
which any worker takes. It holds a fence like any attempt, so that of two workers that believe
they have the search one alone has an effect; a trial submitted twice is one trial.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog
from optuna.trial import TrialState

from trainer.promotion import Promoter
from trainer.publication import find_published, release_uri
from trainer.search.adoption import adopt
from trainer.search.checks import make_plan
from trainer.search.study import Plan, Trial
from trainer.search.trials import Trials
from wintergarden.errors import (
    AlreadyExists,
    Cancelled,
    FailedPrecondition,
    InvalidArgument,
    Overloaded,
    StorageFull,
    Unavailable,
    WintergardenError,
)
from wintergarden.jobs import (
    Attempt,
    Body,
    Jobs,
    JobState,
    LogWritten,
    MetricsReported,
    Progressed,
    StaleFence,
)
from wintergarden.jobs.records import SearchSpec
from wintergarden.store import Manifest, open_store

POLL_S = 0.5
SPACE_WAIT_S = 30.0
CHECKPOINT = "trials"
"""The name of a state that is no file."""
MAX_FAILURES = 3
"""So many trials that fail and none that succeeds: the next would fail too."""
_NOT_NOW = (Unavailable, Overloaded)

_log = structlog.get_logger(__name__)


class Search:
    """One attempt at a search.

    Args:
        jobs: the records.
        attempt: the licence to work on the search.
        store_uri: the model store.
        is_stopping: set when this worker shuts down; the search then goes back to the queue, and
            its trials go on.
        beat: called while the search itself is alive.
        poll_s: between two looks at the trials.
        space_wait_s: between two tries to publish into a store that is full.
    """

    def __init__(
        self,
        jobs: Jobs,
        attempt: Attempt,
        store_uri: str,
        is_stopping: threading.Event,
        *,
        beat: Callable[[], None] = lambda: None,
        poll_s: float = POLL_S,
        space_wait_s: float = SPACE_WAIT_S,
    ) -> None:
        if not isinstance(attempt.job.spec, SearchSpec):
            raise InvalidArgument(f"job {attempt.job.id} is no search but {attempt.job.kind!r}")
        self._jobs = jobs
        self._attempt = attempt
        self._spec = attempt.job.spec
        self._store_uri = store_uri
        self._is_stopping = is_stopping
        self._beat = beat
        self._poll_s = poll_s
        self._space_wait_s = space_wait_s
        self._trials = Trials(jobs, attempt.job, self._spec)
        self._told: dict[int, TrialState] = {}
        self._pruned: set[int] = set()
        self._kept = attempt.job.checkpoint_step
        self._publish_at = 0.0
        self._end: Callable[[], JobState] | None = None
        self._log = _log.bind(job=attempt.job.id, fence=attempt.fence)

    def run(self) -> JobState | None:
        """Search to the end; the job's state afterwards, None where a newer attempt has it."""
        try:
            while True:
                self._beat()
                try:
                    if self._end is None:
                        self._end = self._step()
                    if self._end is not None:
                        state = self._end()
                        self._log.info("search ended", state=state.value)
                        return state
                except StaleFence as exc:
                    self._log.warning("superseded", error=exc.message)
                    return None
                except _NOT_NOW as exc:  # Redis or the store; the lease decides for how long
                    self._log.warning("the search waits", error=exc.message)
                self._is_stopping.wait(self._poll_s)
        except WintergardenError as exc:
            return self._attempt.fail(exc.message)

    def _step(self) -> Callable[[], JobState] | None:
        """One look at everything; how to end, where it is time."""
        attempt = self._attempt
        lease = attempt.renew()
        if lease.requested == "cancel":
            return lambda: attempt.cancelled("cancelled while it ran, with its trials")
        if lease.requested == "pause":
            return lambda: attempt.paused("paused; trials that run go on, no new ones begin")
        if self._is_stopping.is_set():
            return lambda: attempt.requeue("its worker was stopped; the search goes on elsewhere")
        plan = make_plan(self._spec)
        trials = self._trials.look()
        self._tell(plan, trials)
        if self._is_over(trials):
            return self._conclude_where_there_is_space(plan, trials)
        self._prune(plan, trials)
        self._submit(plan, trials)
        return None

    def _is_over(self, trials: Sequence[Trial]) -> bool:
        is_idle = not any(trial.state == TrialState.RUNNING for trial in trials)
        return is_idle and (len(trials) >= self._spec.trials or _is_hopeless(trials))

    def _prune(self, plan: Plan, trials: Sequence[Trial]) -> None:
        for trial in trials:
            if trial.state != TrialState.RUNNING or trial.number in self._pruned:
                continue
            if plan.is_hopeless(trials, trial.number):
                self._trials.prune(trial.number)
                self._pruned.add(trial.number)

    def _submit(self, plan: Plan, trials: list[Trial]) -> None:
        running = sum(trial.state == TrialState.RUNNING for trial in trials)
        while (
            running < self._spec.parallel
            and len(trials) < self._spec.trials
            and not _is_hopeless(trials)
        ):
            number, parameters = len(trials), plan.propose(trials)
            try:
                job = self._trials.submit(number, parameters)
            except FailedPrecondition:  # the search is being cancelled: the next look sees it
                return
            except AlreadyExists:  # by another attempt, which saw other results: the look sees it
                return
            self._log.info("trial submitted", trial=number, child=job.id, **parameters)
            self._emit(LogWritten("info", f"trial {number} is job {job.id}: {_said(parameters)}"))
            trials.append(Trial(number, parameters, TrialState.RUNNING))
            running += 1

    def _tell(self, plan: Plan, trials: Sequence[Trial]) -> None:
        """The events of trials that have ended since the last look."""
        ended = [t for t in trials if t.state != TrialState.RUNNING]
        for trial in ended:
            if self._told.get(trial.number) == trial.state:
                continue
            self._told[trial.number] = trial.state
            best = plan.best(trials)
            if trial.value is not None and best is not None and best.value is not None:
                values = {self._spec.metric: trial.value, "best": best.value}
                self._emit(MetricsReported(values), step=trial.number + 1)
            self._emit(LogWritten("info", self._outcome(trial)))
            self._emit(Progressed("search", len(ended) / self._spec.trials), step=len(ended))
        if len(ended) > self._kept:
            # Nothing is written: the trials are the state. But it has got further, and worker
            # after worker that is killed under it must not count as its failures.
            self._attempt.keep_checkpoint(CHECKPOINT, len(ended))
            self._kept = len(ended)

    def _outcome(self, trial: Trial) -> str:
        job = self._trials.children[trial.number]
        match trial.state:
            case TrialState.COMPLETE:
                return f"trial {trial.number}: {self._spec.metric} {trial.value:.6g}"
            case TrialState.PRUNED:
                return f"trial {trial.number} was given up after {len(trial.reports)} epochs"
        return f"trial {trial.number} failed: {job.reason}"

    def _conclude_where_there_is_space(
        self, plan: Plan, trials: Sequence[Trial]
    ) -> Callable[[], JobState] | None:
        """The trials are worth waiting for; a cancel and the lease are looked after meanwhile."""
        if time.monotonic() < self._publish_at:
            return None
        try:
            return self._conclude(plan, trials)
        except StorageFull as error:
            self._publish_at = time.monotonic() + self._space_wait_s
            text = f"trying again in {self._space_wait_s:g} s: {error.message}"
            self._emit(LogWritten("warning", text))
            return None

    def _conclude(self, plan: Plan, trials: Sequence[Trial]) -> Callable[[], JobState]:
        # As the record is now: an answer may have been lost, of this attempt or of one before it.
        job = self._jobs.get(self._attempt.job.id)
        if found := find_published(self._store_uri, job):
            return self._succeed(found, is_first=False)
        best = plan.best(trials)
        if best is None:
            reasons = dict.fromkeys(job.reason for job in self._trials.children if job.reason)
            why = "; ".join(list(reasons)[:MAX_FAILURES]) or "every one was given up"
            return lambda: self._attempt.fail(f"none of {len(trials)} trials succeeded: {why}")
        child = self._trials.children[best.number]
        try:
            store = open_store(self._store_uri)
            trials_store = open_store(release_uri(self._store_uri, child))
            published = adopt(
                store,
                trials_store,
                trials_store.read_manifest(child.model_name, child.model_version),
                job_id=self._attempt.job.id,
                trials=self._table(trials),
                may_publish=self._attempt.offer,
                conditions=self._spec.promote,
            )
        except Cancelled:
            return lambda: self._attempt.cancelled("cancelled before its model was published")
        self._emit(
            LogWritten(
                "info",
                f"trial {best.number} is the best of {len(trials)}, {self._spec.metric} "
                f"{best.value:.6g}: {_said(best.parameters)}",
            )
        )
        return self._succeed(published, is_first=True)

    def _succeed(self, manifest: Manifest, *, is_first: bool) -> Callable[[], JobState]:
        promoter = Promoter(
            self._store_uri,
            self._attempt,
            manifest.model,
            manifest.version,
            is_first=is_first,
            beat=self._beat,
        )

        def end() -> JobState:
            promoter.run()
            return self._attempt.succeed(manifest.model, manifest.version, manifest.metrics)

        return end

    def _table(self, trials: Sequence[Trial]) -> list[dict[str, Any]]:
        return [
            {
                "trial": trial.number,
                "job_id": job.id,
                "state": job.state.value,
                "hyperparameters": dict(trial.parameters),
                self._spec.metric: trial.value,
                "epochs": len(trial.reports),
                "seconds": round(job.ran_seconds, 3),
            }
            for trial, job in zip(trials, self._trials.children, strict=True)
        ]

    def _emit(self, body: Body, step: int = 0) -> None:
        self._attempt.emit([(body, step)])


def _is_hopeless(trials: Sequence[Trial]) -> bool:
    failed = sum(trial.state == TrialState.FAIL for trial in trials)
    return failed >= MAX_FAILURES and not any(t.state == TrialState.COMPLETE for t in trials)


def _said(parameters: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
        for name, value in parameters.items()
    )
