"""Which model versions are served, and why others are not.

Requests read it without a lock: every change builds new tables and puts them in place at once.
One thread, the watcher's, makes the changes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

from services.inference.codec import ResponseWriter
from services.inference.scheduling import Scheduler
from services.inference.signature import Signature
from wintergarden.errors import InvalidArgument, NotFound, Unavailable

_LISTED = 20  # names or versions in an error message
_DIGITS = 18  # of a version number: 64 bits


class State(StrEnum):
    """As RepositoryIndex calls them."""

    LOADING = "LOADING"
    READY = "READY"
    UNLOADING = "UNLOADING"
    UNAVAILABLE = "UNAVAILABLE"


@dataclass(frozen=True, eq=False)
class Model:
    """A model version that answers requests."""

    name: str
    version: int
    signature: Signature
    scheduler: Scheduler[Any]
    load_seconds: float

    @cached_property
    def responses(self) -> ResponseWriter:
        return ResponseWriter(self.signature)


@dataclass(frozen=True, eq=False)
class Entry:
    """A published version and what has become of it.

    Attributes:
        reason: why it is not served; empty while it is or will be.
        model: set while READY or UNLOADING.
    """

    name: str
    version: int
    state: State
    reason: str = ""
    model: Model | None = None


class Repository:
    """The served models by name and version."""

    def __init__(self) -> None:
        self._entries: dict[tuple[str, int], Entry] = {}
        # By name and version as requests write them; "" is the latest that is served.
        self._ready: dict[tuple[str, str], Model] = {}
        self._is_complete = False

    @property
    def is_complete(self) -> bool:
        """Every version that was published when the server started has been tried."""
        return self._is_complete

    def complete(self) -> None:
        self._is_complete = True

    def entries(self) -> list[Entry]:
        """Every version known, sorted by name and version."""
        entries = self._entries
        return [entries[key] for key in sorted(entries)]

    def get(self, name: str, version: int) -> Entry | None:
        return self._entries.get((name, version))

    def models(self) -> list[Model]:
        """The versions that answer requests."""
        return [e.model for e in self.entries() if e.model and e.state is State.READY]

    def resolve(self, name: str, version: str = "") -> Model:
        """The model version that answers a request.

        Args:
            name: of the model.
            version: a number, or "" for the latest version that is served.

        Raises:
            InvalidArgument: the version is no number.
            NotFound: the store has no such model or version.
            Unavailable: it is not served now: still loading, unloading, or refused.
        """
        model = self._ready.get((name, version))
        if model is None:
            return self._resolve_with_care(name, version)
        return model

    def put(self, entry: Entry) -> None:
        self._replace({**self._entries, (entry.name, entry.version): entry})

    def remove(self, name: str, version: int) -> None:
        self._replace({k: e for k, e in self._entries.items() if k != (name, version)})

    def _replace(self, entries: dict[tuple[str, int], Entry]) -> None:
        ready: dict[tuple[str, str], Model] = {}
        for key in sorted(entries):
            entry = entries[key]
            if entry.state is State.READY and entry.model is not None:
                ready[entry.name, str(entry.version)] = entry.model
                ready[entry.name, ""] = entry.model
        self._entries, self._ready = entries, ready

    def _resolve_with_care(self, name: str, version: str) -> Model:
        """The rare cases: a version written in another way, and every error."""
        number = _parse_version(version)
        entries = [e for e in self.entries() if e.name == name]
        model = self._ready.get((name, "" if number is None else str(number)))
        if model is not None:
            return model
        if not entries:
            if not self._is_complete:
                raise Unavailable("the model store is still being read; try again")
            names = {e.name for e in self.entries()}
            raise NotFound(
                f"no model {name!r:.200}; models are {_listed(map(repr, sorted(names)))}"
            )
        if number is None:
            raise Unavailable(f"model {name!r} has no version to serve: {_reasons(entries)}")
        entry = next((e for e in entries if e.version == number), None)
        if entry is None:
            versions = _listed(str(e.version) for e in entries)
            raise NotFound(f"model {name!r} has no version {number}; versions are {versions}")
        raise Unavailable(f"model {name!r} version {number} is not served: {_reasons([entry])}")


def _parse_version(version: str) -> int | None:
    """-1 and "" both mean the latest, as in Triton."""
    if version in ("", "-1"):
        return None
    if not (version.isascii() and version.isdigit() and len(version) <= _DIGITS):
        raise InvalidArgument(
            f"model_version: {version!r:.40} is no version; "
            "allowed are a whole number, or nothing for the latest",
            field="model_version",
        )
    return int(version)


def _reasons(entries: Iterable[Entry]) -> str:
    return _listed(f"version {e.version}: {e.reason or e.state.lower()}" for e in entries)


def _listed(items: Iterable[str]) -> str:
    items = list(items)
    more = f" and {len(items) - _LISTED} more" if len(items) > _LISTED else ""
    return (", ".join(items[:_LISTED]) or "none") + more
