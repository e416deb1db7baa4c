"""Whether what a job has published answers requests."""

from __future__ import annotations

from wintergarden.client.call import Flow
from wintergarden.client.inference import index, is_model_ready, wait_until_served
from wintergarden.client.jobs import Job, JobState
from wintergarden.client.models import describe
from wintergarden.errors import FailedPrecondition, NotFound


def wait_for_model(job: Job) -> Flow[None]:
    """Wait until the model of a job that succeeded is served, if it ever will be.

    Nobody serves a trial of a search, what has been deleted since, and a version that later ones
    have taken the place of.

    Raises:
        FailedPrecondition: the server has tried and does not serve it; the message says why.
        DeadlineExceeded: it was not served in time.
    """
    name, version = job.model, job.model_version
    if job.state is not JobState.SUCCEEDED or not version or job.parent:
        return
    if (yield from is_model_ready(name, version=version)):
        return
    try:  # the index shows what the server has seen: a new version is not in it, nor one deleted
        yield from describe(name, version=version)
    except NotFound:
        return
    try:
        yield from wait_until_served(name, version=version)
    except FailedPrecondition:
        known = yield from index()
        if not any(entry.name == name and entry.version > version for entry in known):
            raise
