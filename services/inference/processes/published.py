"""What is published, as the parent sees it and its children are told."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from time import monotonic
from typing import NoReturn

from services.inference.processes import paths
from services.inference.processes.link import Link
from services.inference.sources.source import Source, VersionFiles
from wintergarden import errors
from wintergarden.service.errors import STATUS, StatusError
from wintergarden.service.transport import Call, Route
from wintergarden.store.labels import Labels, parse_labels
from wintergarden.store.published import Published
from wintergarden.wire.model_config_pb2 import ModelConfig

_ERRORS = {code: error for error, code in reversed(STATUS.items())}


class Catalogue:
    """Looks at the source for all processes, once an interval however many ask.

    A process that starts late is shown the loaded models as they were when they were loaded, so
    that it loads what the others have, and not what has been published since.
    """

    def __init__(self, source: Source, interval_s: float, is_late: Callable[[int], bool]) -> None:
        """`is_late`: a process of that number does not answer yet, and others do."""
        self._source = source
        self._interval_s = interval_s
        self._is_late = is_late
        self._seen: Mapping[str, Published] = {}
        self._kept: dict[str, _Kept] = {}
        self._look_at = 0.0
        self._lock = threading.Lock()

    def routes(self) -> list[Route]:
        return [
            Route(paths.LOOK, self._look),
            Route(paths.CONFIGURATION, self._configuration),
            Route(paths.LABELS, self._labels),
        ]

    def look_again(self) -> None:
        """Whoever asks next sees what is there then."""
        with self._lock:
            self._look_at = 0.0

    def keep(self, loaded: Collection[str], anew: str = "") -> None:
        """Remember how these models were when they were loaded, and forget all others.

        `anew` is the one that has been loaded since the last call, perhaps not for the first time.
        """
        with self._lock:
            self._kept = {
                name: self._keep(name)
                for name in loaded
                if name in self._seen and (name == anew or name not in self._kept)
            } | {name: kept for name, kept in self._kept.items() if name in loaded and name != anew}

    def _keep(self, name: str) -> _Kept:
        try:
            return _Kept(self._seen[name], self._source.configuration(name))
        except errors.WintergardenError:
            return _Kept(self._seen[name], None)  # it was loaded with another

    def _look(self, call: Call) -> None:
        with self._lock:
            if monotonic() >= self._look_at:
                self._seen = self._source.look()
                self._look_at = monotonic() + self._interval_s
            shown = dict(self._seen)
            if self._is_late(int(call.payload)):
                shown |= {name: kept.published for name, kept in self._kept.items()}
        call.respond(json.dumps({name: asdict(model) for name, model in shown.items()}).encode())

    def _configuration(self, call: Call) -> None:
        process, _, name = call.payload.decode().partition(" ")
        kept = self._kept.get(name) if self._is_late(int(process)) else None
        config = None if kept is None else kept.configuration
        call.respond((config or self._source.configuration(name)).SerializeToString())

    def _labels(self, call: Call) -> None:
        call.respond(self._source.labels(call.payload.decode()).to_json())


@dataclass(frozen=True)
class _Kept:
    published: Published
    configuration: ModelConfig | None


class ParentsSource:
    """Implements `Source` in a child: the parent looks, the child fetches its files itself."""

    def __init__(self, source: Source, parent: Link, process: int) -> None:
        """`process` is the number of this one."""
        self._source = source
        self._parent = parent
        self._process = process

    @property
    def uri(self) -> str:
        return self._source.uri

    @property
    def kind(self) -> str:
        return self._source.kind

    @property
    def default_versions(self) -> int | None:
        return self._source.default_versions

    def look(self) -> Mapping[str, Published]:
        seen = json.loads(self._ask(paths.LOOK, f"{self._process}"))
        for model in seen.values():
            model["versions"] = {int(number): tag for number, tag in model["versions"].items()}
        return {name: Published(**model) for name, model in seen.items()}

    def configuration(self, name: str) -> ModelConfig:
        config = ModelConfig()
        config.ParseFromString(self._ask(paths.CONFIGURATION, f"{self._process} {name}"))
        return config

    def labels(self, name: str) -> Labels:
        return parse_labels(self._ask(paths.LABELS, name), name)

    def files(self, name: str, version: int) -> VersionFiles:
        return self._source.files(name, version)

    def _ask(self, path: str, question: str) -> bytes:
        try:
            return self._parent.call(path, question.encode())
        except StatusError as error:
            raise_known(error)


def raise_known(error: StatusError) -> NoReturn:
    """Raise what the other side raised, as far as a status tells."""
    kind = _ERRORS.get(error.status.code)
    if kind is None or not issubclass(kind, errors.WintergardenError):
        raise error
    raise kind(error.status.message) from error
