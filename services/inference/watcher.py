"""Keeps the repository what the model store says, one version at a time, off the serving path."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic
from typing import Protocol

import structlog

from services.inference.repository import Entry, Model, Repository, State
from wintergarden.errors import WintergardenError

_log = structlog.get_logger(__name__)

# Waits after a version could not be loaded. What is broken may be mended, or the disk that was
# full emptied; nobody gains from trying every second.
_FIRST_RETRY_S = 5.0
_LAST_RETRY_S = 300.0


class Store(Protocol):
    """What the watcher needs of `wintergarden.store.ModelStore`."""

    def fingerprint(self) -> str: ...
    def published(self) -> dict[str, list[int]]: ...


class Watcher:
    """Polls the store; loads what is new, latest first; unloads what is gone.

    A version that fails stays out with its reason, and what was served before stays in.
    """

    def __init__(
        self,
        store: Store,
        repository: Repository,
        load: Callable[[str, int], Model],
        *,
        versions_served: int,
        poll_interval_s: float,
        on_complete: Callable[[], None] = lambda: None,
    ) -> None:
        """A watcher that has not started.

        Args:
            store: where versions are published.
            repository: what the watcher changes; nobody else may.
            load: makes a version ready to serve, or raises.
            versions_served: of each model, the latest that can be loaded.
            poll_interval_s: between looks at the store.
            on_complete: called once, when everything published at the start has been tried.
        """
        self._store = store
        self._repository = repository
        self._load = load
        self._versions_served = versions_served
        self._poll_interval_s = poll_interval_s
        self._on_complete = on_complete
        self._fingerprint = ""
        self._published: dict[str, list[int]] = {}
        self._failures: dict[tuple[str, int], _Failures] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="model-watcher", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Watch no more. A load that is under way is abandoned with the process."""
        self._stopping.set()

    def step(self) -> bool:
        """Look at the store and load at most one version; False when nothing is left to load."""
        self._forget_drained()
        fingerprint = self._store.fingerprint()
        if fingerprint != self._fingerprint:
            self._read_store()
            self._fingerprint = fingerprint
        candidate = self._next_to_load()
        if candidate is not None:
            self._try(*candidate)
            return True
        if not self._repository.is_complete:
            self._repository.complete()
            self._on_complete()
        return False

    def _run(self) -> None:
        is_readable = True
        pause = 0.0
        while not self._stopping.wait(pause):
            try:
                pause = 0.0 if self.step() else self._poll_interval_s
                is_readable = True
            except Exception as error:
                if is_readable:  # once, and not at every poll
                    _log.warning("model store cannot be read", error=repr(error))
                is_readable = False
                pause = max(1.0, self._poll_interval_s)

    def _read_store(self) -> None:
        self._published = self._store.published()
        published = {(n, v) for n, versions in self._published.items() for v in versions}
        for entry in self._repository.entries():
            key = (entry.name, entry.version)
            if key not in published:
                self._failures.pop(key, None)
                self._withdraw(entry)
        for name, version in sorted(published):
            if self._repository.get(name, version) is None:
                self._repository.put(Entry(name, version, State.LOADING))

    def _next_to_load(self) -> tuple[str, int] | None:
        """The latest version that is wanted and not yet tried; leaves out what is not wanted."""
        for name, versions in self._published.items():
            free = self._versions_served
            for version in reversed(versions):
                entry = self._repository.get(name, version)
                if entry is None or entry.state is State.UNLOADING:
                    continue
                if free == 0:
                    self._leave_out(entry)
                elif entry.state is State.READY:
                    free -= 1
                elif self._is_due(name, version):
                    return name, version
        return None

    def _is_due(self, name: str, version: int) -> bool:
        failures = self._failures.get((name, version))
        return failures is None or monotonic() >= failures.retry_at

    def _try(self, name: str, version: int) -> None:
        try:
            model = self._load(name, version)
        except Exception as error:
            self._fail(name, version, error)
        else:
            self._failures.pop((name, version), None)
            self._repository.put(Entry(name, version, State.READY, model=model))

    def _fail(self, name: str, version: int, error: Exception) -> None:
        is_known = isinstance(error, WintergardenError)
        reason = str(error) if is_known else f"fault while loading ({type(error).__name__})"
        failures = self._failures.setdefault((name, version), _Failures())
        failures.count_one()
        entry = self._repository.get(name, version)
        if entry is None or entry.reason != reason:
            _log.warning(
                "version not served",
                model=name,
                version=version,
                reason=reason,
                exc_info=None if is_known else error,
            )
        self._repository.put(Entry(name, version, State.UNAVAILABLE, reason))

    def _leave_out(self, entry: Entry) -> None:
        if entry.state is State.READY:
            self._withdraw(entry)
            return
        reason = f"not among the latest {self._versions_served} (INFERENCE_VERSIONS_SERVED)"
        if entry.reason != reason:
            self._repository.put(Entry(entry.name, entry.version, State.UNAVAILABLE, reason))

    def _withdraw(self, entry: Entry) -> None:
        """No new requests from now on; those under way are finished."""
        if entry.model is None:
            self._repository.remove(entry.name, entry.version)
            return
        if entry.state is State.READY:
            _log.info("model unloading", model=entry.name, version=entry.version)
            self._repository.put(
                Entry(entry.name, entry.version, State.UNLOADING, model=entry.model)
            )
            entry.model.scheduler.close()

    def _forget_drained(self) -> None:
        for entry in self._repository.entries():
            if entry.state is State.UNLOADING and entry.model and entry.model.scheduler.is_drained:
                self._repository.remove(entry.name, entry.version)
                if entry.version in self._published.get(entry.name, ()):
                    self._repository.put(Entry(entry.name, entry.version, State.LOADING))


class _Failures:
    """How often a version has failed in a row, and when to try it again."""

    def __init__(self) -> None:
        self._count = 0
        self.retry_at = 0.0

    def count_one(self) -> None:
        delay = min(_LAST_RETRY_S, _FIRST_RETRY_S * 2.0**self._count)
        self._count += 1
        self.retry_at = monotonic() + delay
