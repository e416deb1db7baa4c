"""Which model versions are served, and why others are not.

Requests read it without a lock: every change builds new tables and puts them in place at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any

from services.inference.protocol.responses import ResponseWriter
from services.inference.repository.traffic import Split
from services.inference.scheduling.scheduler import Scheduler, SequenceControl
from services.inference.signature import Signature
from wintergarden.errors import InvalidArgument, NotFound, Unavailable
from wintergarden.store.labels import Labels
from wintergarden.wire.model_config_pb2 import ModelConfig

_LISTED = 20  # names or versions in an error message
_DIGITS = 18  # of a version number: 64 bits
_NO_LABELS = Labels()


class State(StrEnum):
    """As RepositoryIndex calls them."""

    LOADING = "LOADING"
    READY = "READY"
    UNLOADING = "UNLOADING"
    UNAVAILABLE = "UNAVAILABLE"


@dataclass(frozen=True, eq=False)
class Model:
    """A model version that answers requests.

    Attributes:
        configuration: all of it, with what was left out filled in.
        generator: the same version as a writer of texts, for requests of its inputs; of a step
            graph that can be one.
    """

    name: str
    version: int
    signature: Signature
    scheduler: Scheduler[Any]
    load_seconds: float
    configuration: ModelConfig = field(default_factory=ModelConfig)
    generator: Model | None = None

    @property
    def is_drained(self) -> bool:
        """Closed, and every request that was taken on has its answer."""
        generator = self.generator
        return self.scheduler.is_drained and (generator is None or generator.is_drained)

    @property
    def waiting(self) -> int:
        """Requests in its queues."""
        generator = self.generator
        return self.scheduler.waiting + (0 if generator is None else generator.waiting)

    def close(self) -> None:
        """Take on nothing new, and end when all is answered."""
        self.scheduler.close()
        if self.generator is not None:
            self.generator.close()

    @cached_property
    def responses(self) -> ResponseWriter:
        return ResponseWriter(self.signature)

    @cached_property
    def is_decoupled(self) -> bool:
        """A request may have any number of answers."""
        return self.configuration.model_transaction_policy.decoupled

    def holds(self, sequence: Hashable) -> bool:
        """Whether a sequence of that id is under way here."""
        holds: Callable[[Hashable], bool] | None = getattr(self.scheduler, "holds", None)
        return holds is not None and holds(sequence)

    def end(self, sequence: Hashable) -> None:
        """End a sequence that is under way here, behind its requests that have come."""
        end: Callable[[Hashable], None] | None = getattr(self.scheduler, "end", None)
        if end is not None:
            end(sequence)


@dataclass(frozen=True, eq=False)
class Entry:
    """A published version and what has become of it.

    Attributes:
        reason: why it is not served, or not served anew; empty while all is well.
        model: set while READY or UNLOADING.
        origin: what it was loaded from; another one means other files or another configuration.
    """

    name: str
    version: int
    state: State
    reason: str = ""
    model: Model | None = None
    origin: str = ""


@dataclass(frozen=True)
class _Tables:
    """What requests read.

    Attributes:
        entries: the versions of a model, ascending.
        ready: by name and version as requests write them; "" is the latest that is served, and
            no shadow unless nothing else is.
        splits: by name; such a name has no "" in `ready`.
        shadows: by name.
    """

    entries: dict[str, list[Entry]] = field(default_factory=dict)
    ready: dict[tuple[str, str], Model] = field(default_factory=dict)
    splits: dict[str, Split[Model]] = field(default_factory=dict)
    shadows: dict[str, Model] = field(default_factory=dict)


class Repository:
    """The served models by name and version. Any thread may read it, and change it."""

    def __init__(self) -> None:
        self._entries: dict[tuple[str, int], Entry] = {}
        self._labels: dict[str, Labels] = {}
        self._replaced: tuple[Model, ...] = ()
        self._tables = _Tables()
        self._ready = self._tables.ready
        self._is_complete = False
        self._changing = threading.Lock()

    @property
    def is_complete(self) -> bool:
        """Every version that was wanted when the server started has been tried."""
        return self._is_complete

    def complete(self) -> None:
        self._is_complete = True

    def entries(self) -> list[Entry]:
        """Every version known, sorted by name and version."""
        entries = self._entries
        return [entries[key] for key in sorted(entries)]

    def of(self, name: str) -> list[Entry]:
        """The versions of a model, ascending."""
        return self._tables.entries.get(name, [])

    def get(self, name: str, version: int) -> Entry | None:
        return self._entries.get((name, version))

    def models(self) -> list[Model]:
        """The versions that answer requests."""
        return [e.model for e in self.entries() if e.model and e.state is State.READY]

    def labels(self, name: str) -> Labels:
        return self._labels.get(name, _NO_LABELS)

    def resolve(
        self,
        name: str,
        version: str = "",
        sequence: SequenceControl | None = None,
    ) -> Model:
        """The model version that answers a request.

        Args:
            name: of the model.
            version: a number, a label, or "" for whatever the split says, which without one is
                the latest version that is served.
            sequence: of a request that belongs to one: a version that holds it answers while it
                is not gone. Where it begins, one of that id that is under way on another version
                ends there, for requests that go on with it must find this one.

        Raises:
            InvalidArgument: the version is neither a number nor a label.
            NotFound: the store has no such model or version.
            Unavailable: it is not served now: still loading, unloading, or refused.
        """
        if sequence is not None and not sequence.is_start:
            return self._resolve_sequence(name, version, sequence.id)
        model = self._ready.get((name, version))
        if model is None:
            model = self._resolve_with_care(name, version, None)
        if sequence is not None:
            for other in self._holders(name, self._number(name, version), sequence.id):
                if other is not model:
                    other.end(sequence.id)
        return model

    def ready(self, name: str, version: str = "") -> Model | None:
        """The one version that would answer such a request; None where that is yet to be found."""
        return self._ready.get((name, version))

    def shadow(self, name: str) -> Model | None:
        """The version that is sent a copy of the requests that name none."""
        return self._tables.shadows.get(name)

    def put(self, *entries: Entry) -> None:
        with self._changing:
            self._entries = {**self._entries, **{(e.name, e.version): e for e in entries}}
            self._rebuild()

    def put_missing(self, entry: Entry) -> None:
        """Put an entry unless there is one of its name and version."""
        with self._changing:
            if (entry.name, entry.version) not in self._entries:
                self._entries = {**self._entries, (entry.name, entry.version): entry}
                self._rebuild()

    def remove(self, entry: Entry) -> None:
        """Remove an entry, unless there is another one of its name and version by now."""
        with self._changing:
            self._entries = {k: e for k, e in self._entries.items() if e is not entry}
            self._rebuild()

    def relabel(self, name: str, labels: Labels) -> None:
        if labels != self.labels(name):
            with self._changing:
                self._labels = {**self._labels, name: labels}
                self._rebuild()

    def keep(self, model: Model) -> None:
        """Another model has its name and version now; sequences under way still find it."""
        with self._changing:
            self._replaced = (*self._replaced, model)

    def forget_replaced(self) -> None:
        """Let go of the replaced models that have given every answer."""
        if self._replaced:
            with self._changing:
                still = tuple(m for m in self._replaced if not m.is_drained)
                self._replaced = still

    def _rebuild(self) -> None:
        tables = _Tables()
        for entry in self.entries():
            tables.entries.setdefault(entry.name, []).append(entry)
            if entry.state is State.READY and entry.model is not None:
                tables.ready[entry.name, str(entry.version)] = entry.model
                latest = (entry.name, "")
                # A shadow answers clients only where there is nobody else.
                if entry.version != self.labels(entry.name).shadow or latest not in tables.ready:
                    tables.ready[latest] = entry.model
        for name, labels in self._labels.items():
            _apply(labels, name, tables)
        self._tables, self._ready = tables, tables.ready

    def _resolve_sequence(self, name: str, version: str, sequence: Hashable) -> Model:
        holders = self._holders(name, self._number(name, version), sequence)
        served = next(holders, None) or self._ready.get((name, version))
        return served or self._resolve_with_care(name, version, sequence)

    def _holders(self, name: str, number: int | None, sequence: Hashable) -> Iterator[Model]:
        """The versions of a model that keep a sequence, the latest first, then the replaced."""
        entries = [e for e in self.of(name) if number in (None, e.version)]
        models = [e.model for e in reversed(entries) if e.model is not None]
        replaced = (m for m in self._replaced if m.name == name and number in (None, m.version))
        return (model for model in (*models, *replaced) if model.holds(sequence))

    def _resolve_with_care(self, name: str, version: str, sequence: Hashable | None) -> Model:
        """The rare cases: a split, a version written in another way, and every error."""
        number = self._number(name, version)
        tables = self._tables
        if number is None and name in tables.splits:
            return tables.splits[name].choose(sequence)
        model = tables.ready.get((name, "" if number is None else str(number)))
        if model is not None:
            return model
        entries = self.of(name)
        if not entries:
            if not self._is_complete:
                raise Unavailable("the model store is still being read; try again")
            names = {e.name for e in self.entries()}
            raise NotFound(
                f"Request for unknown model: no model {name!r:.200}; models are "  # Triton's words
                f"{_listed(map(repr, sorted(names)))}"
            )
        if number is None:
            raise Unavailable(f"model {name!r} has no version to serve: {_reasons(entries)}")
        entry = next((e for e in entries if e.version == number), None)
        if entry is None:
            versions = _listed(str(e.version) for e in entries)
            raise NotFound(f"model {name!r} has no version {number}; versions are {versions}")
        raise Unavailable(f"model {name!r} version {number} is not served: {_reasons([entry])}")

    def _number(self, name: str, version: str) -> int | None:
        labels = self.labels(name).labels
        return labels[version] if version in labels else _parse_version(version, labels)


def _apply(labels: Labels, name: str, tables: _Tables) -> None:
    """Enter a model's labels into the tables; they say more than the latest version does."""
    ready = tables.ready
    for label, number in labels.labels.items():
        model = ready.get((name, str(number)))
        if model is not None:
            ready[name, label] = model
    if labels.split:
        shares = {label: s for label, s in labels.split.items() if s and (name, label) in ready}
        ready.pop((name, ""), None)
        # What is not served leaves its share to the others; none of them leaves nothing.
        if shares:
            tables.splits[name] = Split([ready[name, la] for la in shares], [*shares.values()])
    shadow = ready.get((name, str(labels.shadow)))
    if shadow is not None:
        tables.shadows[name] = shadow


def _parse_version(version: str, labels: Mapping[str, int]) -> int | None:
    """-1 and "" both mean the latest, as in Triton."""
    if version in ("", "-1"):
        return None
    if not (version.isascii() and version.isdigit() and len(version) <= _DIGITS):
        raise InvalidArgument(
            # Triton's words, which its clients look for, and then what is allowed.
            f"failed to get model version from specified version string {version!r:.40}; "
            f"allowed are a whole number, a label (labels are {_listed(sorted(labels))}), or "
            "nothing for the latest",
            field="model_version",
        )
    return int(version)


def _reasons(entries: Iterable[Entry]) -> str:
    return _listed(f"version {e.version}: {e.reason or e.state.lower()}" for e in entries)


def _listed(items: Iterable[str]) -> str:
    items = list(items)
    more = f" and {len(items) - _LISTED} more" if len(items) > _LISTED else ""
    return (", ".join(items[:_LISTED]) or "none") + more
