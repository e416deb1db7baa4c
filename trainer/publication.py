"""Whether an earlier attempt has published already, and died before it could say so."""

from __future__ import annotations

import structlog

from wintergarden.errors import NotFound, WintergardenError
from wintergarden.jobs import JobRecord
from wintergarden.store import Manifest, open_store

_log = structlog.get_logger(__name__)


def find_published(store_uri: str, job: JobRecord) -> Manifest | None:
    """The version that an attempt of this job was allowed to publish, where it did.

    A store that does not answer counts as none: the training process will meet it too, and say
    what is wrong.
    """
    if not job.offered_version:
        return None
    try:
        manifest = open_store(store_uri).read_manifest(job.spec.model, job.offered_version)
    except NotFound:
        return None
    except WintergardenError as exc:
        _log.warning("earlier publication not looked up", job=job.id, error=exc.message)
        return None
    return manifest if manifest.lineage.job_id == job.id else None
