"""Makes a published version stable, for the attempt that holds its job and for no other."""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from wintergarden.errors import Overloaded, Unavailable, WintergardenError
from wintergarden.jobs import Attempt, LogWritten
from wintergarden.store import open_store
from wintergarden.store.promotion import Verdict, promote

PATIENCE_S = 30.0
_PAUSE_S = 0.5

_log = structlog.get_logger(__name__)


class _NotHeld(Exception):
    """Carries what Redis says of the attempt past the store's own errors."""

    def __init__(self, error: WintergardenError) -> None:
        super().__init__(error.message)
        self.error = error


class Promoter:
    """Promotes one version, once.

    Args:
        store_uri: where the version is.
        attempt: that holds the job.
        model: the version's.
        version: its number.
        is_first: this attempt published it; a later one, that found it published, is more careful
            with labels that have changed since.
        beat: called while it goes on.
        patience_s: how long it waits for a store that does not answer.
    """

    def __init__(
        self,
        store_uri: str,
        attempt: Attempt,
        model: str,
        version: int,
        *,
        is_first: bool,
        beat: Callable[[], None] = lambda: None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._store_uri = store_uri
        self._attempt = attempt
        self._model = model
        self._version = version
        self._is_first = is_first
        self._beat = beat
        self._patience_s = patience_s
        self._may_have_swapped = False
        self._is_decided = False

    def run(self) -> None:
        """Promote where the job and the manifest say so, and tell the job's log what came of it.

        The model is published and the job succeeds whatever comes of this: a store that does not
        answer costs the label and not the job. Does nothing once it was decided, so that it may
        be called again where Redis did not answer.

        Raises:
            StaleFence: another attempt holds the job.
            Unavailable: Redis does not answer.
        """
        if self._is_decided or not getattr(self._attempt.job.spec, "promote", ()):
            return
        verdict = self._decide()
        self._is_decided = True
        if verdict is None:
            return
        _log.info("promotion decided", job=self._attempt.job.id, outcome=verdict.reason)
        level = "info" if verdict.is_stable else "warning"
        self._attempt.emit([(LogWritten(level, verdict.reason), 0)])

    def _decide(self) -> Verdict | None:
        give_up_at = time.monotonic() + self._patience_s
        while True:
            self._beat()
            self._attempt.renew()
            try:
                store = open_store(self._store_uri)
                manifest = store.read_manifest(self._model, self._version)
                return promote(store, manifest, is_first=self._is_first, hold=self._hold)
            except _NotHeld as exc:
                raise exc.error from exc
            except (Unavailable, Overloaded) as exc:
                # The swap may have been made and its answer lost, and be undone by somebody since.
                self._is_first &= not self._may_have_swapped
                if time.monotonic() > give_up_at:
                    return self._undecided(exc)
            except WintergardenError as exc:
                return self._undecided(exc)
            time.sleep(_PAUSE_S)

    def _hold(self) -> None:
        try:
            self._attempt.renew()
        except WintergardenError as exc:
            raise _NotHeld(exc) from exc
        self._may_have_swapped = True

    def _undecided(self, error: WintergardenError) -> Verdict:
        return Verdict(
            is_stable=False,
            reason=f"version {self._version} of {self._model!r} is published, but could not be "
            f"made stable: {error.message}",
        )
