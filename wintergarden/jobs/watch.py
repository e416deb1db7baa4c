"""Follows a job's events: from any cursor, each exactly once, through restarts of Redis.

Of a job that ended some time ago Redis has the last event alone; the others come from the archive.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping

from wintergarden.errors import InvalidArgument, NotFound, Unavailable
from wintergarden.jobs import archive, keys
from wintergarden.jobs.connection import BLOCK_S, Connection
from wintergarden.jobs.events import Event, decode
from wintergarden.jobs.records import JobState

_CURSOR = re.compile(r"[0-9]{1,18}-[0-9]{1,18}")
_BEGINNING = "0-0"
_PAGE = 256
_PATIENCE_S = 60.0
"""How long a watcher waits for a Redis that does not answer."""


def watch(
    connection: Connection,
    job_id: str,
    cursor: str = "",
    *,
    follow: bool = True,
    stop: Callable[[], bool] = lambda: False,
    read_archive: archive.Read | None = None,
) -> Iterator[Event]:
    """Events after `cursor`, oldest first; ends after the one with the job's final state.

    Args:
        connection: where the events are.
        job_id: whose events.
        cursor: of the last event already seen; empty: from the beginning.
        follow: wait for events to come; otherwise end with those that exist.
        stop: asked at least every two seconds; True ends the watch.
        read_archive: where events that Redis no longer has come from; None: nowhere.

    Raises:
        NotFound: there is no such job.
        InvalidArgument: the cursor is none of this system.
        Unavailable: Redis did not answer for a minute.
    """
    if cursor and not _CURSOR.fullmatch(cursor):
        raise InvalidArgument(
            f"cursor {cursor!r}: expected one that an event of this job carried, or none",
            field="cursor",
        )
    return _follow(
        connection,
        job_id,
        cursor or _BEGINNING,
        follow=follow,
        stop=stop,
        read_archive=read_archive,
    )


def _follow(
    connection: Connection,
    job_id: str,
    cursor: str,
    *,
    follow: bool,
    stop: Callable[[], bool],
    read_archive: archive.Read | None,
) -> Iterator[Event]:
    unavailable_since: float | None = None
    may_block = False  # the first look also tells whether the job exists and still runs
    while not stop():
        try:
            has_ended = not may_block and _has_ended(connection, job_id)
            events = _read(connection, job_id, cursor, block=may_block)
            # After the read: events that it missed were dropped before this look.
            archived = _archive(connection, job_id) if read_archive else ""
        except Unavailable:
            unavailable_since = unavailable_since or time.monotonic()
            if not follow or time.monotonic() - unavailable_since > _PATIENCE_S:
                raise
            time.sleep(0.2)
            continue
        unavailable_since = None
        if read_archive and archived:
            content = read_archive(job_id, archived, archive.MAX_ARCHIVE_BYTES)
            yield from archive.after(archive.unpack(content, job_id), cursor)
            return
        for event in events:
            yield event
            cursor = event.cursor
            if event.is_last:
                return
        if not events and (has_ended or not follow):
            return
        # A silent job is looked at between two blocking reads: it may have ended before `cursor`.
        may_block = follow and not has_ended and (bool(events) or not may_block)


def _has_ended(connection: Connection, job_id: str) -> bool:
    with connection.errors():
        state = connection.client.hget(keys.job(job_id), "state")
    if state is None:
        raise NotFound(f"there is no job {job_id!r}")
    return JobState(str(state)).is_final


def _archive(connection: Connection, job_id: str) -> str:
    """The archive that has a job's events where Redis no longer has them."""
    with connection.errors():
        name = connection.client.hget(keys.job(job_id), "shortened")
    return str(name or "")


def _read(connection: Connection, job_id: str, cursor: str, *, block: bool) -> list[Event]:
    with connection.errors():
        answer = connection.client.xread(
            {keys.events(job_id): cursor},
            count=_PAGE,
            block=int(BLOCK_S * 1000) if block else None,
        )
    return [decode(entry_id, fields) for entry_id, fields in _entries(answer)]


def _entries(answer: object) -> list[tuple[str, Mapping[str, str]]]:
    """The one stream's entries; RESP2 answers a list of streams, RESP3 a map."""
    if not answer:
        return []
    if isinstance(answer, dict):
        pages = next(iter(answer.values()))
        return [entry for page in pages for entry in page]
    assert isinstance(answer, list)  # noqa: S101
    entries: list[tuple[str, Mapping[str, str]]] = answer[0][1]
    return entries
