"""What must hold after any mischief, checked from events, records, traces and the store."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

from tests.chaos.system import LEASE_S
from wintergarden.client import CheckpointKept, Event, Job, JobState, StateChanged
from wintergarden.store import ModelStore

# A worker hears that it lost a job at its next look; so long may two processes get on at once.
LOOK_S = 1.5


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def check_events(events: Sequence[Event]) -> None:
    """Each event once, in order; none of an attempt after a newer one has begun."""
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    fences = [event.attempt for event in events]
    assert fences == sorted(fences), "an event of a superseded attempt is visible"
    states = [event for event in events if isinstance(event, StateChanged)]
    running = [event.attempt for event in states if event.state is JobState.RUNNING]
    assert running == sorted(set(running)), "two attempts began with one fence"
    assert states[-1].state.is_final
    assert states[-1] is events[-1]
    for event in events:
        if isinstance(event, CheckpointKept):
            assert event.name.startswith(f"{event.attempt}/"), "another attempt's checkpoint"


def check_published_once(store: ModelStore, jobs: Sequence[Job]) -> dict[str, str]:
    """Each job has one version, the one its record names; answers the digest of its weights."""
    versions: defaultdict[str, list[tuple[str, int]]] = defaultdict(list)
    for model, numbers in store.published().items():
        for number in numbers:
            manifest = store.read_manifest(model, number)
            versions[manifest.lineage.job_id or ""].append((model, number))
    weights = {}
    for job in jobs:
        assert versions.pop(job.id) == [(job.model, job.model_version)]
        content = store.fetch(job.model, job.model_version).read("weights.safetensors")
        weights[job.id] = digest(content)
    assert not versions, "versions of no job"
    return weights


def longest_overlap_s(traces: Path, jobs: Sequence[Job]) -> float:
    """For how long an attempt got on after a newer one had begun to, at worst."""
    worst = 0.0
    for job in jobs:
        spans: list[tuple[int, float, float]] = []
        for path in traces.glob(f"{job.id}-*.trace"):
            times = [float(line) for line in path.read_text().splitlines()]
            if times:
                spans.append((int(path.stem.rpartition("-")[2]), times[0], times[-1]))
        spans.sort()
        for (_, _, ended), (_, began, _) in pairwise(spans):
            worst = max(worst, ended - began)
    return worst


def check_overlap(overlap_s: float) -> None:
    assert overlap_s <= LEASE_S + LOOK_S, "two attempts got on together for too long"


def check_same_weights(
    weights: Mapping[str, str], recipes: Mapping[str, str], undisturbed: Mapping[str, str]
) -> None:
    """Every job's weights are those of the undisturbed run of its recipe, bit by bit."""
    wrong = [job for job, digest in weights.items() if digest != undisturbed[recipes[job]]]
    assert not wrong, f"other weights than undisturbed: {wrong}"
