"""What the calls of both transports share: being answered once, and being cancelled."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable

import structlog

from wintergarden.errors import WintergardenError
from wintergarden.service.errors import Metadata, Status, status_of
from wintergarden.service.transport.call import CallContext

_log = structlog.get_logger(__name__)


class OpenCalls(dict[int, "OpenCall"]):
    """Calls without an answer yet, by id; and how many of them failed, by method and code."""

    def __init__(self) -> None:
        super().__init__()
        self._failed: Counter[tuple[str, ...]] = Counter()
        self._lock = threading.Lock()

    def count_failure(self, method: str, code: str) -> None:
        with self._lock:
            self._failed[method, code] += 1

    def failed(self) -> dict[tuple[str, ...], int]:
        with self._lock:
            return dict(self._failed)


class OpenCall(CallContext):
    """A call in a dict of open calls. Whoever removes it from there may answer it.

    `dict.pop` is atomic, so handlers, cancellation and drain need no lock to agree.
    """

    __slots__ = (
        "_id", "_initial_metadata", "_is_gone", "_on_cancel", "_open",
        "deadline", "metadata", "method", "payload", "peer",
    )  # fmt: skip

    def __init__(  # noqa: PLR0917  keywords cost time, once per call
        self,
        open_calls: OpenCalls,
        call_id: int,
        method: str,
        payload: bytes,
        metadata: tuple[tuple[str, str | bytes], ...],
        peer: str,
        deadline: float | None,
    ) -> None:
        self.method = method
        self.payload = payload
        self.metadata = metadata
        self.peer = peer
        self.deadline = deadline
        self._open = open_calls
        self._id = call_id
        self._is_gone = False
        self._on_cancel: list[Callable[[], object]] | None = None
        self._initial_metadata: Metadata | None = None
        open_calls[call_id] = self

    @property
    def is_gone(self) -> bool:
        return self._is_gone

    def on_cancel(self, callback: Callable[[], object]) -> None:
        if self._on_cancel is None:
            self._on_cancel = []
        self._on_cancel.append(callback)
        if self._is_gone:
            self._run_callbacks()

    def cancel(self) -> None:
        """Nobody waits for the answer any more. Idempotent."""
        self._open.pop(self._id, None)
        self._is_gone = True
        self._run_callbacks()

    def send_initial_metadata(self, metadata: Metadata) -> None:
        self._initial_metadata = metadata

    def stop_reading(self) -> None:
        """Take no more messages of the client: the server drains. Of no effect on one message."""

    def fail(self, error: BaseException) -> None:
        if self._claim():
            status = status_of(error, self.method)
            self._open.count_failure(self.method, status.code.name)
            self._fail(status)
        elif not isinstance(error, WintergardenError):
            status_of(error, self.method)  # nobody to tell, but a fault of ours is still logged

    def _claim(self) -> bool:
        """True for the one who is to answer."""
        return self._open.pop(self._id, None) is not None

    def _fail(self, status: Status) -> None:
        raise NotImplementedError

    def _run_callbacks(self) -> None:
        callbacks = self._on_cancel
        while callbacks:
            try:
                callback = callbacks.pop()
            except IndexError:  # the other thread took the last one
                return
            try:
                callback()
            except Exception:
                _log.exception("a cancellation callback failed", method=self.method)
