"""The events of jobs that have ended, kept for good outside Redis, which then drops its own.

    events-<digest>.jsonl.gz    a line that says what it is, then a line for each event

Named by its content: two who archive the same events write the same file, and one who comes too
late, when most are dropped, overwrites nobody's. The record says which file counts. Where the
files lie is the caller's affair.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence

from wintergarden.errors import DataLoss, Unsupported
from wintergarden.jobs import keys
from wintergarden.jobs.connection import Connection
from wintergarden.jobs.events import Event, decode

SCHEMA_VERSION = 1
MAX_ARCHIVE_BYTES = 64 << 20
"""Of a file, packed or not: several times what a stream may hold."""

Put = Callable[[str, bytes], object]
"""Writes a job's file of that name, durably and whole or not at all."""
Read = Callable[[str, str, int], bytes]
"""A job's file, by the job's id, the file's name, and how many bytes it may have."""

_PAGE = 1_000
_Entry = tuple[str, Mapping[str, str]]


def due(connection: Connection, limit: int) -> Sequence[str]:
    """Ids of ended jobs whose events are to be archived, or to be dropped from Redis by now."""
    now_ms = connection.now_ms()
    with connection.errors():
        found: list[str] = connection.client.zrangebyscore(
            keys.ARCHIVE_DUE, "-inf", now_ms, 0, limit
        )
    return found


def see_to(connection: Connection, job_id: str, put: Put, keep_s: float) -> str:
    """Archives a job's events, or drops those that were archived long enough ago.

    Any number may do so at once, any number of times.

    Args:
        connection: to where the events are.
        job_id: of a job that has ended.
        put: where to; what it raises leaves everything as it was.
        keep_s: for how long Redis keeps the events beside the archive.

    Returns:
        What became of it: archived, shortened, gone, newer or stale.
    """
    with connection.errors():
        archived = connection.client.hget(keys.job(job_id), "archive")
    if archived:
        return "shortened" if connection.run("shorten", job_id) else "stale"
    entries = list(_entries(connection, job_id))
    cursor, name = "", ""
    if entries:
        cursor = entries[-1][0]
        if decode(*entries[-1]).is_last:
            content = pack(job_id, entries)
            name = f"events-{hashlib.sha256(content).hexdigest()[:16]}.jsonl.gz"
            put(name, content)
    return str(connection.run("archive", job_id, cursor, name, int(keep_s * 1000)))


def pack(job_id: str, entries: Sequence[_Entry]) -> bytes:
    """The file of these entries of a stream; the same entries give the same bytes."""
    lines = [json.dumps({"schema_version": SCHEMA_VERSION, "job": job_id})]
    lines += [json.dumps([cursor, dict(fields)], sort_keys=True) for cursor, fields in entries]
    return gzip.compress("\n".join(lines).encode(), mtime=0)


def unpack(content: bytes, job_id: str) -> list[Event]:
    """The events of a file.

    Raises:
        DataLoss: it is no archive of that job.
        Unsupported: a newer version of this software wrote it.
    """
    try:
        inflater = zlib.decompressobj(wbits=31)
        text = inflater.decompress(content, MAX_ARCHIVE_BYTES)
        if not inflater.eof:
            raise ValueError("it is cut off, or larger than any archive")
        header, *lines = text.decode().split("\n")
        head = json.loads(header)
        if int(head["schema_version"]) > SCHEMA_VERSION:
            raise Unsupported(
                f"the events of job {job_id} were archived by a newer version of this software, "
                f"with schema version {head['schema_version']}; this one reads up to "
                f"{SCHEMA_VERSION}"
            )
        if head["job"] != job_id:
            raise ValueError(f"it is of job {head['job']!r:.140}")
        return [decode(cursor, fields) for cursor, fields in map(json.loads, lines)]
    except (ValueError, KeyError, TypeError, zlib.error) as error:
        raise DataLoss(f"the archived events of job {job_id} are of no use: {error}") from error


def after(events: Sequence[Event], cursor: str) -> Iterator[Event]:
    """Those that a watcher who has seen the event of this cursor has not seen yet."""
    place = _place(cursor)
    return (event for event in events if _place(event.cursor) > place)


def _place(cursor: str) -> tuple[int, int]:
    milliseconds, _, number = cursor.partition("-")
    return int(milliseconds), int(number)


def _entries(connection: Connection, job_id: str) -> Iterator[_Entry]:
    start = "-"
    while True:
        with connection.errors():
            page = connection.client.xrange(keys.events(job_id), min=start, count=_PAGE)
        yield from page
        if len(page) < _PAGE:
            return
        start = f"({page[-1][0]}"
