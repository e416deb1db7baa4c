"""Answers, in the parent, the calls that concern every process."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from contextlib import ExitStack

import structlog

from services.inference.processes import combine, paths
from services.inference.processes.desired_state import (
    CHANGES,
    LOAD,
    UNLOAD,
    DesiredState,
    unload_request,
)
from services.inference.processes.link import Link
from services.inference.processes.members import Members, first_error
from services.inference.processes.published import Catalogue
from services.inference.processes.rendezvous import Rendezvous
from services.inference.protocol.metadata import SERVICE
from services.inference.sources.source import Source
from wintergarden.errors import Unavailable
from wintergarden.service.errors import StatusError
from wintergarden.service.transport import Call, Route
from wintergarden.wire import open_inference_pb2 as pb

SERVER_READY = f"/{SERVICE}/ServerReady"
MODEL_READY = f"/{SERVICE}/ModelReady"
INDEX = f"/{SERVICE}/RepositoryIndex"
STATISTICS = f"/{SERVICE}/ModelStatistics"

# What a process cannot answer alone.
HANDED_ON = (*CHANGES, SERVER_READY, MODEL_READY, INDEX, STATISTICS)

_QUESTION_S = 10.0

_log = structlog.get_logger(__name__)


class Coordinator:
    """Asks all processes, changes all of them or none, and brings new ones up to date."""

    def __init__(
        self,
        source: Source,
        link: Callable[[int], Link],
        *,
        processes: int,
        is_explicit: bool,
        look_interval_s: float,
    ) -> None:
        """A coordinator of nobody yet.

        Args:
            source: where versions are published.
            link: to a process by its number.
            processes: how many are to answer from the start; they begin together.
            is_explicit: models are loaded by request, and not whenever they are published.
            look_interval_s: between looks at the source.
        """
        self._processes = processes
        self._is_explicit = is_explicit
        self._has_begun = threading.Event()
        self._catalogue = Catalogue(source, look_interval_s, self._is_late)
        self._link = link
        self._state = DesiredState()
        self.members = Members()
        self._rendezvous = Rendezvous(self.members.numbers)
        self.members.on_change = self._rendezvous.members_changed
        # Models change one after the other, in the same order everywhere: an ensemble brings
        # its parts. Regions and settings wait for no model.
        self._models = threading.Lock()
        self._others = threading.Lock()

    def routes(self) -> list[Route]:
        changes = [Route(path, self._change) for path in CHANGES]
        return [
            *changes,
            Route(SERVER_READY, self._server_ready),
            Route(MODEL_READY, self._model_ready),
            Route(INDEX, self._index),
            Route(STATISTICS, self._statistics),
            Route(paths.MEET, self._meet),
            Route(paths.COMPLETE, self._complete),
            *self._catalogue.routes(),
        ]

    def _change(self, call: Call) -> None:
        path, payload = call.method, call.payload
        with self._models if path in (LOAD, UNLOAD) else self._others:
            if path == LOAD:
                self._catalogue.look_again()
            outcomes = self.members.ask(path, payload)
            answers = [outcome for outcome in outcomes.values() if isinstance(outcome, bytes)]
            if len(answers) < len(outcomes) or not outcomes:
                undo = self._state.undo(path, payload) if answers else None
                if undo is not None:
                    self.members.ask(*undo)
                raise first_error(outcomes)
            self._state.record(path, payload)
            if path == LOAD:
                name = pb.RepositoryModelLoadRequest.FromString(payload).model_name
                self._catalogue.keep(self._loaded(), anew=name)
            elif path == UNLOAD:
                loaded = self._loaded()
                self._catalogue.keep(loaded)
                for dependent in self._state.loaded() - loaded:  # it went with the other
                    self._state.record(UNLOAD, unload_request(dependent))
        call.respond(answers[0])

    def _loaded(self) -> set[str]:
        index = pb.RepositoryIndexResponse.FromString(self._ask_index(ready_only=True))
        return {model.name for model in index.models}

    def _is_late(self, process: int) -> bool:
        return self.has_begun and process not in self.members

    @property
    def has_begun(self) -> bool:
        """Every process has answered requests once."""
        return self._has_begun.is_set()

    @property
    def is_ready(self) -> bool:
        """All have begun, and some are there."""
        return self._has_begun.is_set() and len(self.members) > 0

    def stop(self) -> None:
        """Let go of whoever waits to begin."""
        self._has_begun.set()
        self.members.close()

    def _server_ready(self, call: Call) -> None:
        answers = []
        if self.is_ready:
            answers = self.members.answers(call.method, call.payload, _QUESTION_S)
        call.respond(combine.all_ready(answers, pb.ServerReadyResponse))

    def _model_ready(self, call: Call) -> None:
        answers = self.members.answers(call.method, call.payload, _QUESTION_S)
        call.respond(combine.all_ready(answers, pb.ModelReadyResponse))

    def _statistics(self, call: Call) -> None:
        call.respond(
            combine.statistics(self.members.answers(call.method, call.payload, _QUESTION_S))
        )

    def _index(self, call: Call) -> None:
        request = pb.RepositoryIndexRequest.FromString(call.payload)
        call.respond(self._ask_index(ready_only=request.ready, name=request.repository_name))

    def _ask_index(self, *, ready_only: bool, name: str = "") -> bytes:
        request = pb.RepositoryIndexRequest(repository_name=name).SerializeToString()
        answers = self.members.answers(INDEX, request, _QUESTION_S)
        return combine.index(answers, ready_only=ready_only)

    def _meet(self, call: Call) -> None:
        met = json.loads(call.payload)
        problem = self._rendezvous.meet(met["process"], met["name"], met["version"], met["problem"])
        call.respond(problem.encode())

    def _complete(self, call: Call) -> None:
        """A process has tried every model that it wanted at its start; make it one of us."""
        process = int(call.payload)
        link = self._link(process)
        with ExitStack() as stack:
            stack.enter_context(self._models)
            stack.enter_context(self._others)
            for path, payload in self._state.requests():
                try:
                    link.call(path, payload)
                except (StatusError, Unavailable) as error:
                    self._log_replay(process, path, error)
                    if path == LOAD:  # it would answer otherwise than the others
                        raise
            self.members.add(process, link)
            if len(self.members) >= self._processes and not self.has_begun:
                if self._is_explicit:
                    self._catalogue.keep(self._loaded())
                self._has_begun.set()
        self._has_begun.wait()
        call.respond(b"")

    def _log_replay(self, process: int, path: str, error: Exception) -> None:
        _log.warning("a process could not catch up", process=process, call=path, reason=str(error))
