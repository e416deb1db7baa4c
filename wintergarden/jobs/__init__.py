"""Durable jobs on Redis: records, leases, fences, events. The one place that knows Redis.

Redis holds the truth and every transition is one script; Celery carries messages that say
"look at job X" and decides nothing. Knows no model, no transport and no trainer.
"""

from wintergarden.jobs.attempt import Attempt, Lease, StaleFence
from wintergarden.jobs.events import (
    Body,
    CheckpointKept,
    Event,
    LogWritten,
    MetricsReported,
    PictureShown,
    Progressed,
    StateChanged,
)
from wintergarden.jobs.jobs import Jobs
from wintergarden.jobs.reaper import Repairs
from wintergarden.jobs.records import (
    SPECS,
    ExplainSpec,
    JobRecord,
    JobState,
    PrepareSpec,
    SearchSpec,
    Spec,
    TrainingSpec,
)
from wintergarden.jobs.workers import Worker

__all__ = [
    "SPECS",
    "Attempt",
    "Body",
    "CheckpointKept",
    "Event",
    "ExplainSpec",
    "JobRecord",
    "JobState",
    "Jobs",
    "Lease",
    "LogWritten",
    "MetricsReported",
    "PictureShown",
    "PrepareSpec",
    "Progressed",
    "Repairs",
    "SearchSpec",
    "Spec",
    "StaleFence",
    "StateChanged",
    "TrainingSpec",
    "Worker",
]
