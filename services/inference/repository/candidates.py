"""Which version of a model is to be loaded next, and which are to be left out."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from time import monotonic

from services.inference.configuration import wanted
from services.inference.repository.repository import Entry, State
from wintergarden.errors import WintergardenError
from wintergarden.store.labels import Labels
from wintergarden.store.published import Published
from wintergarden.wire.model_config_pb2 import ModelConfig

# Waits after a version could not be loaded. What is broken may be mended, or the disk that was
# full emptied; nobody gains from trying every second.
_FIRST_RETRY_S = 5.0
_LAST_RETRY_S = 300.0


@dataclass(frozen=True)
class Watched:
    """A model as its source showed it last.

    Attributes:
        problem: why its configuration cannot be used.
    """

    published: Published
    config: ModelConfig
    labels: Labels
    problem: WintergardenError | None


@dataclass(frozen=True)
class Candidate:
    """A version to load, and what it is to be loaded from."""

    version: int
    origin: str


class Failures:
    """How often a version has failed in a row, and when to try it again."""

    def __init__(self) -> None:
        self._failures: dict[tuple[str, int], tuple[str, int, float]] = {}

    def count(self, name: str, version: int, origin: str) -> None:
        """One more failure of what was loaded from `origin`."""
        before, times, _ = self._failures.get((name, version), (origin, 0, 0.0))
        times = times if before == origin else 0
        delay = min(_LAST_RETRY_S, _FIRST_RETRY_S * 2.0**times)
        self._failures[name, version] = (origin, times + 1, monotonic() + delay)

    def forget(self, name: str, version: int) -> None:
        self._failures.pop((name, version), None)

    def is_due(self, name: str, version: int, origin: str) -> bool:
        """It has not failed, or long ago, or as something else."""
        failed, _, retry_at = self._failures.get((name, version), ("", 0, 0.0))
        return failed != origin or monotonic() >= retry_at


@dataclass(frozen=True)
class Outlook:
    """What there is to do for a model.

    Attributes:
        candidate: the best version that is wanted and not yet tried.
        left_out: versions that are not wanted, and why; an older one only once there is a
            better one in its place.
    """

    candidate: Candidate | None
    left_out: tuple[tuple[int, str], ...]


def outlook(
    model: Watched, entries: Iterable[Entry], failures: Failures, versions_served: int
) -> Outlook:
    """What there is to do for a model.

    Args:
        model: as its source showed it last.
        entries: of its versions.
        failures: of all models.
        versions_served: how many of the latest are served where no policy says so.
    """
    labels = model.labels
    choice = wanted(model.config, model.published.versions, versions_served, labels.shadow)
    named = {*labels.labels.values(), labels.shadow}
    free = len(choice.versions) if choice.limit is None else choice.limit
    known = {entry.version: entry for entry in entries}
    left_out = []
    for version in sorted(model.published.versions, reverse=True):
        entry = known.get(version)
        if entry is None or entry.state is State.UNLOADING:
            continue
        is_chosen = version in choice.versions and free > 0
        if not is_chosen and version not in named:
            left_out.append((version, choice.reason))
            continue
        origin = f"{model.published.versions[version]} {model.published.configuration}"
        is_served = entry.state is State.READY
        is_new = not is_served or entry.origin != origin
        if is_new and failures.is_due(entry.name, version, origin):
            return Outlook(Candidate(version, origin), tuple(left_out))
        if is_served and is_chosen:
            free -= 1
    return Outlook(None, tuple(left_out))
