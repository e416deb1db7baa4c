"""Names of the keys in Redis, in one place. `scripts/record.lua` spells the same names.

    wintergarden:job:<id>         hash    the record
    wintergarden:events:<id>      stream  the job's events
    wintergarden:request:<id>     string  request id → job id
    wintergarden:state:<STATE>    zset    job ids by time of submission
    wintergarden:queue:<kind>     zset    QUEUED job ids in the order they run
    wintergarden:leases           zset    RUNNING job ids by when their lease expires (ms)
    wintergarden:orders           string  counter: the order of submission
    wintergarden:heard            string  the worker last heard of; gone after a silence
    wintergarden:catalogue        string  what the workers can train, JSON
    wintergarden:celery:…                 Celery's messages

Scripts derive keys from job ids, so this runs on one server or under Sentinel, not on Cluster.
"""

from __future__ import annotations

PREFIX = "wintergarden:"
CELERY_PREFIX = f"{PREFIX}celery:"
LEASES = f"{PREFIX}leases"
HEARD = f"{PREFIX}heard"
CATALOGUE = f"{PREFIX}catalogue"


def job(job_id: str) -> str:
    return f"{PREFIX}job:{job_id}"


def events(job_id: str) -> str:
    return f"{PREFIX}events:{job_id}"


def state(state: str) -> str:
    return f"{PREFIX}state:{state}"


def queue(kind: str) -> str:
    return f"{PREFIX}queue:{kind}"


def messages(kind: str) -> str:
    """The list that Celery's Redis transport keeps for the queue of this name."""
    return f"{CELERY_PREFIX}{kind}"
