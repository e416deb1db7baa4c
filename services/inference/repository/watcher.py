"""Keeps the repository what a source shows: model control modes `watch` and `poll`.

Loads off the serving path, several models at once, so that none waits for a slow one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from time import monotonic

import structlog

from services.inference.configuration import with_policy
from services.inference.ensembles.plan import dependencies
from services.inference.repository.candidates import Failures, Outlook, Watched, outlook
from services.inference.repository.control import NO_FILES, Load
from services.inference.repository.lifecycle import Lifecycle
from services.inference.repository.repository import Repository
from services.inference.sources.source import Source
from wintergarden.errors import FailedPrecondition, WintergardenError
from wintergarden.store.labels import Labels
from wintergarden.store.published import Published
from wintergarden.wire.model_config_pb2 import ModelConfig

_log = structlog.get_logger(__name__)

# The first half is Triton's.
_NOT_EXPLICIT = (
    "explicit model load / unload is not allowed if polling is enabled; start the server with "
    "--model-control explicit (INFERENCE_MODEL_CONTROL)"
)


class Watcher:
    """Polls the source; loads what is new or changed, latest first; unloads what is gone.

    A version that fails stays out with its reason, and what was served before stays in.
    """

    def __init__(
        self,
        source: Source,
        repository: Repository,
        load: Load,
        *,
        versions_served: int,
        poll_interval_s: float,
        parallel_loads: int = 2,
        on_complete: Callable[[], None] = lambda: None,
    ) -> None:
        """A watcher that has not started.

        Args:
            source: where versions are published.
            repository: what the watcher changes; nobody else may.
            load: makes a version ready to serve, or raises.
            versions_served: of each model without a policy, the latest that can be loaded.
            poll_interval_s: between looks at the source.
            parallel_loads: models that may be loading at once.
            on_complete: called once, when everything published at the start has been tried.
        """
        self._source = source
        self._repository = repository
        self._lifecycle = Lifecycle(repository)
        self._load = load
        self._versions_served = versions_served
        self._poll_interval_s = poll_interval_s
        self._parallel_loads = parallel_loads
        self._on_complete = on_complete
        self._models: Mapping[str, Watched] = {}
        self._failures = Failures()
        self._busy: set[str] = set()
        self._stopping = False
        self._woken = threading.Event()
        self._thread = threading.Thread(target=self._run, name="model-watcher", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Watch no more. A load that is under way is abandoned with the process."""
        self._stopping = True
        self._woken.set()

    def load(
        self, name: str, config: str | None = None, files: Mapping[str, bytes] = NO_FILES
    ) -> None:
        raise FailedPrecondition(_NOT_EXPLICIT)

    def unload(self, name: str, *, unload_dependents: bool = False) -> None:
        raise FailedPrecondition(_NOT_EXPLICIT)

    def look(self) -> list[str]:
        """Look at the source, take away what is gone, and name the models with work to do."""
        drained = self._lifecycle.forget_drained()
        shown = self._source.look()
        self._models = {name: self._watched(name, model) for name, model in shown.items()}
        for entry in drained:
            if entry.version in self._versions(entry.name):
                self._lifecycle.announce(entry.name, entry.version, "")
        for entry in self._repository.entries():
            if entry.version not in self._versions(entry.name):
                self._failures.forget(entry.name, entry.version)
                self._lifecycle.withdraw(entry)
        for name, model in self._models.items():
            self._repository.relabel(name, model.labels)
            for version in model.published.versions:
                if self._repository.get(name, version) is None:
                    self._lifecycle.announce(name, version, "")
        return self.due()

    def due(self) -> list[str]:
        """Models with a version to load, or to leave out; an ensemble after its parts."""
        pending = set(self._busy)
        for name, model in self._models.items():
            if name not in self._busy:
                outlook = self._outlook(name, model)
                for version, reason in outlook.left_out:
                    self._lifecycle.leave_out(name, version, reason)
                if outlook.candidate is not None:
                    pending.add(name)
        if not pending and not self._repository.is_complete:
            self._repository.complete()
            self._on_complete()
        return [n for n in sorted(pending - self._busy) if not self._waits(n, pending)]

    def load_next(self, name: str) -> None:
        """Load the version of a model that is most wanted and not yet tried."""
        model = self._models.get(name)
        candidate = None if model is None else self._outlook(name, model).candidate
        if model is None or candidate is None:
            return
        version, origin = candidate.version, candidate.origin
        self._lifecycle.announce(name, version, origin)
        try:
            if model.problem is not None:
                raise model.problem
            files = self._source.files(name, version)
            config = with_policy(model.config, self._versions_served)
            loaded = self._load(name, version, files, config)
        except Exception as error:
            self._failures.count(name, version, origin)
            self._lifecycle.fail(name, version, error, origin)
        else:
            self._failures.forget(name, version)
            self._lifecycle.serve([loaded], origin)
            self._encourage(name)

    def _run(self) -> None:
        is_readable = True
        look_at = 0.0
        while not self._stopping:
            self._woken.clear()
            try:
                if monotonic() >= look_at:
                    due = self.look()
                    look_at = monotonic() + self._poll_interval_s
                    is_readable = True
                else:
                    due = self.due()
                for name in due[: self._parallel_loads - len(self._busy)]:
                    self._begin(name)
            except Exception as error:
                if is_readable:  # once, and not at every poll
                    _log.warning("models cannot be read", error=repr(error))
                is_readable = False
                look_at = monotonic() + max(1.0, self._poll_interval_s)
            self._woken.wait(max(0.0, look_at - monotonic()))

    def _begin(self, name: str) -> None:
        def work() -> None:
            try:
                self.load_next(name)
            except Exception:
                _log.exception("fault while loading", model=name)
            finally:
                self._busy.discard(name)
                self._woken.set()

        self._busy.add(name)
        threading.Thread(target=work, name=f"loading-{name}", daemon=True).start()

    def _watched(self, name: str, published: Published) -> Watched:
        """What the source says of a model; read again only when its tags have changed."""
        before = self._models.get(name)
        if before is not None and before.published == published:
            return before
        if not published.versions:
            _log.warning("no version: one is a folder named by a number", model=name)
        config, problem, labels = ModelConfig(), None, Labels()
        try:
            config = self._source.configuration(name)
        except WintergardenError as error:
            problem = error
        try:
            labels = self._source.labels(name)
        except WintergardenError as error:
            _log.warning("labels not taken", model=name, reason=str(error))
            labels = self._repository.labels(name)
        return Watched(published, config, labels, problem)

    def _encourage(self, name: str) -> None:
        """An ensemble that failed for want of this model is tried again at once."""
        for other, model in self._models.items():
            if any(part == name for part, _ in dependencies(model.config)):
                for version in model.published.versions:
                    self._failures.forget(other, version)

    def _outlook(self, name: str, model: Watched) -> Outlook:
        entries = self._repository.of(name)
        return outlook(model, entries, self._failures, self._versions_served)

    def _versions(self, name: str) -> Mapping[int, str]:
        model = self._models.get(name)
        return {} if model is None else model.published.versions

    def _waits(self, name: str, pending: set[str]) -> bool:
        """Whether an ensemble should wait for a part of it; never for one that waits for it."""
        seen: set[str] = set()
        waiting = [name]
        while waiting:
            model = self._models.get(waiting.pop())
            for part, _ in dependencies(model.config) if model is not None else ():
                if part == name:
                    return False
                if part not in seen:
                    seen.add(part)
                    waiting.append(part)
        return not seen.isdisjoint(pending)
