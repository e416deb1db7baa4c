"""Puts loaded models in the place of others, and takes models away once they are drained.

Requests find either the old model or the new one, never none; what the old one was given, it
answers. Decides nothing: that is for the model controls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from time import monotonic, sleep

import structlog

from services.inference.repository.repository import Entry, Model, Repository, State
from wintergarden.errors import WintergardenError

_log = structlog.get_logger(__name__)

_LOOK_S = 0.005


class Lifecycle:
    """The ways in which an entry of the repository changes its state."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository

    def announce(self, name: str, version: int, origin: str) -> None:
        """A version is about to be loaded; one that is served goes on."""
        entry = self._repository.get(name, version)
        if entry is None or entry.model is None:
            self._repository.put(Entry(name, version, State.LOADING, origin=origin))

    def serve(self, models: Sequence[Model], origin: str) -> None:
        """From now on these answer, all at once; what they replace finishes what it was given."""
        previous = [self._repository.get(m.name, m.version) for m in models]
        replaced = [e.model for e in previous if e is not None and e.model is not None]
        for model in replaced:
            self._repository.keep(model)
        self._repository.put(
            *(Entry(m.name, m.version, State.READY, model=m, origin=origin) for m in models)
        )
        for model in replaced:
            model.close()

    def fail(self, name: str, version: int, error: Exception, origin: str) -> None:
        """A version could not be loaded; what answered before still does."""
        is_known = isinstance(error, WintergardenError)
        reason = str(error) if is_known else f"fault while loading ({type(error).__name__})"
        entry = self._repository.get(name, version)
        if entry is None or entry.reason != reason:
            _log.warning(
                "version not served",
                model=name,
                version=version,
                reason=reason,
                exc_info=None if is_known else error,
            )
        if entry is not None and entry.model is not None:  # it serves, or finishes what it has
            self._repository.put(replace(entry, reason=reason))
        else:
            self._repository.put(Entry(name, version, State.UNAVAILABLE, reason, origin=origin))

    def leave_out(self, name: str, version: int, reason: str) -> None:
        """A version is not wanted."""
        entry = self._repository.get(name, version)
        if entry is not None and entry.model is not None:
            self.withdraw(entry)
        elif entry is None or entry.reason != reason:
            self._repository.put(Entry(name, version, State.UNAVAILABLE, reason))

    def withdraw(self, entry: Entry) -> None:
        """No new requests from now on; those under way are finished."""
        if entry.model is None:
            self._repository.remove(entry)
        elif entry.state is State.READY:
            _log.info("model unloading", model=entry.name, version=entry.version)
            self._repository.put(
                Entry(entry.name, entry.version, State.UNLOADING, entry.reason, entry.model)
            )
            entry.model.close()

    def forget_drained(self) -> list[Entry]:
        """Remove the entries whose model has given its last answer, and return them."""
        self._repository.forget_replaced()
        drained = [
            entry
            for entry in self._repository.entries()
            if entry.state is State.UNLOADING and entry.model and entry.model.is_drained
        ]
        for entry in drained:
            _log.info("model unloaded", model=entry.name, version=entry.version)
            self._repository.remove(entry)
        return drained


def wait_until_drained(models: Sequence[Model], limit_s: float) -> bool:
    """Wait for the last answers of models that were closed; False: some are still under way."""
    deadline = monotonic() + limit_s
    while not all(model.is_drained for model in models):
        if monotonic() > deadline:
            return False
        sleep(_LOOK_S)
    return True
