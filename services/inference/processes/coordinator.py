"""Answers, in the parent, the calls that concern every process."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable

import structlog

from services.inference.processes import combine, paths
from services.inference.processes.desired_state import (
    CHANGES,
    LOAD,
    MODEL_CHANGES,
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
from wintergarden.service.transport import Call, Route, parse
from wintergarden.service.transport.dispatch import guarded
from wintergarden.service.transport.route import Handler
from wintergarden.service.transport.workers import Workers
from wintergarden.wire import open_inference_pb2 as pb
from wintergarden.wire.pool import methods

SERVER_READY = f"/{SERVICE}/ServerReady"
MODEL_READY = f"/{SERVICE}/ModelReady"
INDEX = f"/{SERVICE}/RepositoryIndex"
STATISTICS = f"/{SERVICE}/ModelStatistics"

# What a process cannot answer alone.
HANDED_ON = (*CHANGES, SERVER_READY, MODEL_READY, INDEX, STATISTICS)

_QUESTION_S = 10.0
_QUESTIONS = 64  # at a time; of more, `Members` would not ask anybody
_REPOSITORY_INDEX = methods(SERVICE)["RepositoryIndex"]

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
        # What clients ask for never waits on the server's workers, so that what the processes
        # themselves ask always finds one: the change that all others wait for does not end
        # without a LOOK or a MEET. More workers would not do: a client that gives up frees its
        # place in a child, while its call waits on here.
        self._model_changes = Workers("model-changes", 1)  # a second would wait for the lock
        self._other_changes = Workers("other-changes", 1)
        self._questions = Workers("questions", _QUESTIONS)

    def routes(self) -> list[Route]:
        models, others, questions = self._model_changes, self._other_changes, self._questions
        return [
            *(_apart(models, path, self._change) for path in MODEL_CHANGES),
            *(_apart(others, path, self._change) for path in CHANGES if path not in MODEL_CHANGES),
            _apart(questions, SERVER_READY, self._server_ready),
            _apart(questions, MODEL_READY, self._model_ready),
            _apart(questions, INDEX, self._index),
            _apart(questions, STATISTICS, self._statistics),
            Route(paths.MEET, self._meet),
            Route(paths.COMPLETE, self._complete),
            *self._catalogue.routes(),
        ]

    def _change(self, call: Call) -> None:
        path, payload = call.method, call.payload
        with self._models if path in MODEL_CHANGES else self._others:
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
        for workers in (self._model_changes, self._other_changes, self._questions):
            workers.stop()  # what comes yet is answered by the end of the server

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
        request = parse(_REPOSITORY_INDEX, call.payload)
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
        with self._models, self._others:
            if call.is_gone:  # it died while it waited, and nobody would remove it any more
                return
            link = self._link(process)
            for path, payload in self._state.requests():
                try:
                    link.call(path, payload)
                except (StatusError, Unavailable) as error:
                    self._log_replay(process, path, error)
                    if path == LOAD:  # it would answer otherwise than the others
                        raise
            self.members.add(process, link)
            # Its end may have been told already, when there was nothing to remove.
            call.on_cancel(lambda: self.members.remove(process))
            if len(self.members) >= self._processes and not self.has_begun:
                if self._is_explicit:
                    self._catalogue.keep(self._loaded())
                self._has_begun.set()
        self._has_begun.wait()
        call.respond(b"")

    def _log_replay(self, process: int, path: str, error: Exception) -> None:
        _log.warning("a process could not catch up", process=process, call=path, reason=str(error))


def _apart(workers: Workers, path: str, handler: Handler) -> Route:
    """A route whose handler waits on other threads than the server's."""
    return Route(path, lambda call: workers.submit(lambda: guarded(handler, call)))
