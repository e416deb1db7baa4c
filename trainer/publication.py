"""Where a job publishes, and whether an earlier attempt has: it may have died before it said so."""

from __future__ import annotations

import structlog

from wintergarden.errors import WintergardenError
from wintergarden.jobs import JobRecord, TrainingSpec
from wintergarden.jobs.records import SearchSpec
from wintergarden.store import Manifest, open_store

_log = structlog.get_logger(__name__)


def release_uri(store_uri: str, job: JobRecord) -> str:
    """The store that a job publishes to.

    Trials of a search have one of their own, below the search's files: nobody serves what is
    there, and it goes with them.
    """
    if isinstance(job.spec, TrainingSpec) and job.spec.is_trial and job.parent:
        return f"{store_uri.rstrip('/')}/jobs/{job.parent}/trials"
    return store_uri


def find_published(store_uri: str, job: JobRecord) -> Manifest | None:
    """The version that an attempt of this job has published, or was about to.

    A store that does not answer counts as none: the training process will meet it too, and say
    what is wrong.
    """
    if not job.offered_version or not isinstance(job.spec, TrainingSpec | SearchSpec):
        return None
    try:
        return open_store(release_uri(store_uri, job)).find_publication(job.id)
    except WintergardenError as exc:
        _log.warning("earlier publication not looked up", job=job.id, error=exc.message)
        return None
