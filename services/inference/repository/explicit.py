"""Loads what it is asked for and nothing else: model control mode `explicit`."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

import structlog

from services.inference.configuration import read_json, wanted, with_policy
from services.inference.ensembles.plan import dependencies
from services.inference.loading.variants import file_name
from services.inference.repository.control import NO_FILES, Load
from services.inference.repository.lifecycle import Lifecycle, wait_until_drained
from services.inference.repository.overrides import Overrides
from services.inference.repository.repository import Entry, Model, Repository, State
from services.inference.sources.source import Source, VersionFiles
from wintergarden.errors import InvalidArgument, NotFound, WintergardenError
from wintergarden.runtime.rehearsal import Rehearsal
from wintergarden.store.labels import Labels
from wintergarden.store.names import validate_model_name
from wintergarden.store.published import Published
from wintergarden.wire.model_config_pb2 import ModelConfig

_log = structlog.get_logger(__name__)

ALL = "*"  # in `load_models`, as in Triton
_LISTED = 20
_NOT_LOADED = "not loaded"
_UNLOADED = "unloaded"
_FAILED = "failed to load"
_GONE = Published({})


class ExplicitControl:
    """Models come and go by request; what is published and not loaded is listed all the same."""

    def __init__(
        self,
        source: Source,
        repository: Repository,
        load: Load,
        *,
        load_models: Sequence[str] = (),
        versions_served: int = 1,
        rehearsal: Rehearsal | None = None,
        look_interval_s: float = 1.0,
        drain_limit_s: float = 30.0,
        on_complete: Callable[[], None] = lambda: None,
    ) -> None:
        """A control that has not started.

        Args:
            source: where versions are published.
            repository: what the control changes; nobody else may.
            load: makes a version ready to serve, or raises.
            load_models: names of the models to load at the start; `*` stands for all.
            versions_served: of each model without a policy, how many of the latest.
            rehearsal: tries the graphs that come with requests; None: they are opened untried.
            look_interval_s: between looks at what is published.
            drain_limit_s: how long an unload waits for the answers that are under way.
            on_complete: called once, when `load_models` have been tried.
        """
        self._source = source
        self._repository = repository
        self._lifecycle = Lifecycle(repository)
        self._load_version = load
        self._load_models = load_models
        self._versions_served = versions_served
        self._rehearsal = rehearsal
        self._look_interval_s = look_interval_s
        self._drain_limit_s = drain_limit_s
        self._on_complete = on_complete
        self._locks: defaultdict[str, threading.RLock] = defaultdict(threading.RLock)
        self._looking = threading.Lock()
        self._label_tags: dict[str, str] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="model-control", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Look no more. A load that is under way is abandoned with the process."""
        self._stopping.set()
        if self._rehearsal is not None:
            self._rehearsal.close()

    def load(
        self, name: str, config: str | None = None, files: Mapping[str, bytes] = NO_FILES
    ) -> None:
        """See `ModelControl.load`; an ensemble brings the models it is composed of with it."""
        self._load(name, config, files, frozenset())

    def unload(self, name: str, *, unload_dependents: bool = False) -> None:
        """See `ModelControl.unload`; unloading what is not loaded changes nothing."""
        parts: list[str] = []
        models: list[Model] = []
        with self._locks[name]:
            for entry in self._repository.of(name):
                if entry.model is not None:
                    parts += [part for part, _ in dependencies(entry.model.configuration)]
                    models.append(entry.model)
                    self._lifecycle.withdraw(entry)
                elif entry.state is State.UNAVAILABLE:
                    self._lifecycle.leave_out(name, entry.version, _UNLOADED)
        if not wait_until_drained(models, self._drain_limit_s):
            _log.warning("still answering after unload", model=name, seconds=self._drain_limit_s)
        self.look()
        if unload_dependents:
            for part in parts:
                self.unload(part, unload_dependents=True)

    def look(self) -> None:
        """List what is published, and forget what has gone."""
        with self._looking:
            drained = {(e.name, e.version) for e in self._lifecycle.forget_drained()}
            published = self._source.look()
            for name, model in published.items():
                for version in model.versions:
                    reason = _UNLOADED if (name, version) in drained else _NOT_LOADED
                    self._repository.put_missing(Entry(name, version, State.UNAVAILABLE, reason))
                self._relabel(name, model.labels)
            for entry in self._repository.entries():
                model = published.get(entry.name, _GONE)
                if entry.state is State.UNAVAILABLE and entry.version not in model.versions:
                    self._repository.remove(entry)

    def _run(self) -> None:
        self._try("look at the models", self.look)
        names: Sequence[str] = self._load_models
        if ALL in names:
            names = list(self._source.look())
        for name in names:
            self._try(f"load {name!r}", partial(self.load, name))
        self._repository.complete()
        self._on_complete()
        while not self._stopping.wait(self._look_interval_s):
            self._try("look at the models", self.look)

    def _try(self, what: str, task: Callable[[], None]) -> None:
        try:
            task()
        except Exception as error:
            _log.warning("model control failed", task=what, error=repr(error))

    def _load(
        self, name: str, config: str | None, files: Mapping[str, bytes], wanting: frozenset[str]
    ) -> None:
        """Load a model that those in `wanting`, each a part of the one before it, wait for."""
        with _named(name):
            given = None if config is None else read_json(config, name)
            if files:
                self._load_given(name, given or ModelConfig(), files)
                return
            published = self._published(name)
            full = self._source.configuration(name) if given is None else given
            for part, _ in dependencies(full):
                if part not in {*wanting, name} and not self._is_served(part):
                    self._load(part, None, NO_FILES, wanting | {name})
            labels = self._source.labels(name)
            with self._locks[name]:
                versions = self._chosen(full, published.versions, labels)
                self._serve(name, full, versions, partial(self._source.files, name))
                self._repository.relabel(name, labels)

    def _load_given(self, name: str, config: ModelConfig, files: Mapping[str, bytes]) -> None:
        validate_model_name(name)
        with Overrides(name, files) as overrides, self._locks[name]:
            if self._rehearsal is not None:
                for graph in overrides.graphs(file_name(config)):
                    self._rehearsal.check(graph)
            versions = self._chosen(config, overrides.versions, Labels())
            self._serve(name, config, versions, overrides.files)

    def _published(self, name: str) -> Published:
        published = self._source.look()
        if name not in published:
            shown = ", ".join(map(repr, list(published)[:_LISTED])) or "none"
            raise NotFound(f"no such model in {self._source.uri}; models are {shown}")
        return published[name]

    def _chosen(self, config: ModelConfig, published: Collection[int], labels: Labels) -> list[int]:
        """What the version policy chooses, and the versions that have a label."""
        named = {*labels.labels.values(), labels.shadow}
        first = wanted(config, published, self._versions_served, labels.shadow).first
        versions = sorted({*first, *(v for v in published if v in named)})
        if not versions:
            raise InvalidArgument(
                "at least one version must be available under the version policy; published are "
                f"{', '.join(map(str, published)) or 'none'}"
            )
        return versions

    def _serve(
        self,
        name: str,
        config: ModelConfig,
        versions: Sequence[int],
        files: Callable[[int], VersionFiles],
    ) -> None:
        """All the versions or none; what answered before does so until all are ready."""
        loaded: list[Model] = []
        config = with_policy(config, self._versions_served)
        for version in versions:
            self._lifecycle.announce(name, version, "")
            try:
                loaded.append(self._load_version(name, version, files(version), config))
            except Exception as error:
                self._lifecycle.fail(name, version, error, "")
                for model in loaded:
                    model.close()
                    self._abandon(name, model.version, version)
                raise
        others = [e for e in self._repository.of(name) if e.version not in versions]
        self._lifecycle.serve(loaded, "")
        for entry in others:
            if entry.model is not None:
                self._lifecycle.withdraw(entry)

    def _abandon(self, name: str, version: int, failed: int) -> None:
        entry = self._repository.get(name, version)
        if entry is not None and entry.state is State.LOADING:
            self._lifecycle.leave_out(name, version, f"version {failed} could not be loaded")

    def _is_served(self, name: str) -> bool:
        return any(entry.state is State.READY for entry in self._repository.of(name))

    def _relabel(self, name: str, tag: str) -> None:
        """Take a model's labels, which are read only when their tag has changed."""
        if self._label_tags.get(name, "") == tag:
            return
        self._label_tags[name] = tag
        try:
            self._repository.relabel(name, self._source.labels(name))
        except WintergardenError as error:
            _log.warning("labels not taken", model=name, reason=str(error))


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Errors begin with Triton's words, which its clients look for."""
    try:
        yield
    except WintergardenError as error:
        if not error.message.startswith(_FAILED):
            error.message = f"{_FAILED} {name!r:.200}: {error.message}"
            error.args = (error.message,)
        raise
