"""Names of the keys in Redis, in one place. `scripts/record.lua` spells the same names.

    wintergarden:job:<id>         hash    the record
    wintergarden:events:<id>      stream  the job's events
    wintergarden:request:<id>     string  request id → job id
    wintergarden:state:<STATE>    zset    job ids by time of submission
    wintergarden:queue:<route>    zset    QUEUED job ids in the order they run
    wintergarden:routes           set     every route a job was ever queued on
    wintergarden:leases           zset    RUNNING job ids by when their lease expires (ms)
    wintergarden:ended            zset    job ids by when they ended (ms)
    wintergarden:archive_due      zset    ended job ids by when their events are next seen to (ms)
    wintergarden:children:<id>    zset    a job's children by the order of submission
    wintergarden:claim:<token>    hash    what a claim got, for a while
    wintergarden:orders           string  counter: the order of submission
    wintergarden:workers          zset    workers by when they were last heard of (ms)
    wintergarden:worker           hash    worker → what it is, JSON
    wintergarden:catalogue        string  what the workers can train, JSON
    wintergarden:celery:…                 Celery's messages

Scripts derive keys from job ids, so this runs on one server or under Sentinel, not on Cluster.
"""

from __future__ import annotations

PREFIX = "wintergarden:"
CELERY_PREFIX = f"{PREFIX}celery:"
LEASES = f"{PREFIX}leases"
ROUTES = f"{PREFIX}routes"
ENDED = f"{PREFIX}ended"
ARCHIVE_DUE = f"{PREFIX}archive_due"
WORKERS = f"{PREFIX}workers"
WORKER = f"{PREFIX}worker"
CATALOGUE = f"{PREFIX}catalogue"


def job(job_id: str) -> str:
    return f"{PREFIX}job:{job_id}"


def events(job_id: str) -> str:
    return f"{PREFIX}events:{job_id}"


def state(state: str) -> str:
    return f"{PREFIX}state:{state}"


def queue(route: str) -> str:
    return f"{PREFIX}queue:{route}"


def request(request_id: str) -> str:
    return f"{PREFIX}request:{request_id}"


def children(job_id: str) -> str:
    return f"{PREFIX}children:{job_id}"


def messages(route: str) -> str:
    """The list that Celery's Redis transport keeps for the queue of this name."""
    return f"{CELERY_PREFIX}{route}"
