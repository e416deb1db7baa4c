"""Who works: what each worker can do, and why a job that none of them can do waits."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from wintergarden.jobs import keys
from wintergarden.jobs.connection import Connection

SILENCE_S = 30.0
"""A worker not heard of for longer is gone."""


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker as it last described itself.

    Attributes:
        name: unique.
        routes: the queues it takes jobs from.
        concurrency: jobs it runs at once.
        running: jobs it runs now.
        memory_mb: mebibytes a job may need here; 0 is not known.
        devices: what it computes on, for people.
        methods: of explanations that it does, each `<kind>:<name>`.
    """

    name: str
    routes: Sequence[str] = ("train",)
    concurrency: int = 1
    running: int = 0
    memory_mb: int = 0
    devices: Sequence[str] = ("cpu",)
    methods: Sequence[str] = ()

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The worker; fields of later versions are passed over."""
        known = {field.name for field in fields(cls)}
        told: dict[str, Any] = {
            name: value for name, value in json.loads(text).items() if name in known
        }
        lists: dict[str, Any] = {n: tuple(v) for n, v in told.items() if isinstance(v, list)}
        return cls(**{**told, **lists})


def report(connection: Connection, worker: Worker) -> None:
    connection.run("report", worker.name, worker.to_json(), int(SILENCE_S * 1000))


def read(connection: Connection) -> list[Worker]:
    """Those heard of lately, by name."""
    with connection.errors():
        pipeline = connection.client.pipeline(transaction=True)
        pipeline.time()
        pipeline.zrange(keys.WORKERS, 0, -1, withscores=True)
        pipeline.hgetall(keys.WORKER)
        (now_s, _), heard, described = pipeline.execute()
    oldest = (now_s - SILENCE_S) * 1000
    there = [name for name, at in heard if at >= oldest and name in described]
    return [Worker.from_json(described[name]) for name in sorted(there)]


def why_none(workers: Iterable[Worker], route: str, memory_mb: int) -> str:
    """Why nobody can take a job; empty where somebody can."""
    workers = list(workers)
    if not workers:
        return "no worker is running"
    able = [worker for worker in workers if route in worker.routes]
    if not able:
        return f"no worker takes jobs of {route!r}; there are {_names(workers)}"
    if memory_mb and all(0 < worker.memory_mb < memory_mb for worker in able):
        most = max(worker.memory_mb for worker in able)
        return f"no worker has the {memory_mb} MiB it asks for; the largest has {most}"
    return ""


def _names(workers: Iterable[Worker]) -> str:
    return ", ".join(f"{worker.name} ({', '.join(worker.routes)})" for worker in workers)
