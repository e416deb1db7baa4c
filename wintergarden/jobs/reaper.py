"""Repairs what died: every worker runs it on a timer, together or not; no leader, no memory."""

from __future__ import annotations

from dataclasses import dataclass, field

from wintergarden.jobs import keys
from wintergarden.jobs.broker import Messenger
from wintergarden.jobs.connection import Connection
from wintergarden.jobs.events import LogWritten, decode
from wintergarden.jobs.records import JobState

_PAGE = 100
_LOG_LINES = 10
_FIRST_PATIENCE_MS = 5_000
_LONGEST_PATIENCE_MS = 300_000


@dataclass(frozen=True, slots=True)
class Repairs:
    """`expired`: jobs taken from dead attempts, and their states now; `sent`: told again."""

    expired: dict[str, JobState] = field(default_factory=dict)
    sent: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.expired or self.sent)


def reap(connection: Connection, messenger: Messenger) -> Repairs:
    """One round: leases that ran out, then messages that got lost."""
    expired = _expire_leases(connection, messenger)
    with connection.errors():
        routes = sorted(connection.client.smembers(keys.ROUTES))
    sent = [job_id for route in routes for job_id in _send_again(connection, messenger, route)]
    return Repairs(expired, tuple(sent))


def _expire_leases(connection: Connection, messenger: Messenger) -> dict[str, JobState]:
    now_ms = connection.now_ms()
    with connection.errors():
        candidates = connection.client.zrangebyscore(keys.LEASES, "-inf", now_ms, 0, _PAGE)
    states: dict[str, JobState] = {}
    for job_id in candidates:
        with connection.errors():
            route, kind, fence, token, worker = connection.client.hmget(
                keys.job(job_id), ["route", "kind", "fence", "token", "worker"]
            )
        reason = f"worker {worker} stopped renewing its lease" + _last_lines(connection, job_id)
        if state := connection.run("expire", job_id, f"{fence}:{token}", reason):
            states[job_id] = JobState(state)
            if state == JobState.QUEUED:
                messenger.send(route or kind, job_id)
    return states


def _last_lines(connection: Connection, job_id: str) -> str:
    """The tail of the job's log: what a dead attempt can still say about its end."""
    with connection.errors():
        entries = connection.client.xrevrange(keys.events(job_id), count=_PAGE)
    bodies = (decode(entry_id, fields).body for entry_id, fields in entries)
    lines = [body.text for body in bodies if isinstance(body, LogWritten)][:_LOG_LINES]
    return "; its last log lines:\n" + "\n".join(reversed(lines)) if lines else ""


def _send_again(connection: Connection, messenger: Messenger, route: str) -> list[str]:
    """Messages are lost only where fewer wait than jobs do; a full queue is no cause for more."""
    with connection.errors():
        jobs = int(connection.client.zcard(keys.queue(route)))
        messages = int(connection.client.llen(keys.messages(route)))
    if jobs <= messages:
        return []
    due = connection.run("due", route, jobs - messages, _FIRST_PATIENCE_MS, _LONGEST_PATIENCE_MS)
    return [job_id for job_id in due if messenger.send(route, job_id)]
