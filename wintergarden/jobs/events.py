"""What a job reports while it runs: an append-only log of a few kinds of events."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from wintergarden.jobs.records import JobState


@dataclass(frozen=True, slots=True)
class StateChanged:
    state: JobState
    reason: str = ""


@dataclass(frozen=True, slots=True)
class MetricsReported:
    values: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class LogWritten:
    level: str
    text: str


@dataclass(frozen=True, slots=True)
class Progressed:
    phase: str
    fraction: float
    """Of the whole job, 0 to 1."""


@dataclass(frozen=True, slots=True)
class CheckpointKept:
    """The next attempt will go on from here; the event's step says where that is."""

    name: str


@dataclass(frozen=True, slots=True)
class PictureShown:
    """A picture below the store's `jobs/<id>/`."""

    name: str
    caption: str


Body = StateChanged | MetricsReported | LogWritten | Progressed | CheckpointKept | PictureShown


@dataclass(frozen=True, slots=True)
class Event:
    """One entry of a job's log.

    `cursor` continues a watch after this event. `fence` is the attempt that wrote it (0 before
    the first). `sequence` counts a job's events from 1 without gaps: a gap means that the oldest
    were dropped at the log's byte limit. `time` is Unix seconds of the Redis server's clock.
    """

    cursor: str
    fence: int
    sequence: int
    step: int
    time: float
    body: Body

    @property
    def is_last(self) -> bool:
        return isinstance(self.body, StateChanged) and self.body.state.is_final


def encode(body: Body) -> tuple[str, str]:
    """The `type` and `body` fields of a stream entry."""
    match body:
        case StateChanged(state, reason):
            return "state", json.dumps({"state": state, "reason": reason})
        case MetricsReported(values):
            return "metrics", json.dumps(dict(values))
        case LogWritten(level, text):
            return "log", json.dumps({"level": level, "text": text})
        case Progressed(phase, fraction):
            return "progress", json.dumps({"phase": phase, "fraction": fraction})
        case CheckpointKept(name):
            return "checkpoint", json.dumps({"name": name})
        case PictureShown(name, caption):
            return "picture", json.dumps({"name": name, "caption": caption})


def decode(cursor: str, entry: Mapping[str, str]) -> Event:
    return Event(
        cursor=cursor,
        fence=int(entry["fence"]),
        sequence=int(entry["sequence"]),
        step=int(entry["step"]),
        time=int(entry["time"]) / 1000,
        body=_body(entry["type"], json.loads(entry["body"])),
    )


def _body(kind: str, content: Mapping[str, object]) -> Body:
    match kind:
        case "state":
            return StateChanged(JobState(str(content["state"])), str(content["reason"]))
        case "metrics":
            return MetricsReported({name: float(str(v)) for name, v in content.items()})
        case "log":
            return LogWritten(str(content["level"]), str(content["text"]))
        case "progress":
            return Progressed(str(content["phase"]), float(str(content["fraction"])))
        case "checkpoint":
            return CheckpointKept(str(content["name"]))
        case "picture":
            return PictureShown(str(content["name"]), str(content["caption"]))
    # Written by a newer worker: a watcher that is older still shows that something happened.
    return LogWritten("info", f"{kind}: {json.dumps(content)}")
