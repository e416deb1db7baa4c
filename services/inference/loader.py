"""Turns a published version into a model that may be served, or says why it may not."""

from __future__ import annotations

import math
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Literal, TypeVar

import structlog

from services.inference import warmup
from services.inference.engine import Engine
from services.inference.plan import Plan
from services.inference.repository import Model
from services.inference.signature import Signature
from wintergarden.errors import InvalidTensor
from wintergarden.runtime import RuntimeOptions, Session, available_threads, open_session
from wintergarden.store import Artefact, ModelStore, golden
from wintergarden.store.names import GOLDEN, MODEL

T = TypeVar("T")

_log = structlog.get_logger(__name__)

_NICENESS = 10
# A batch on the caller's own thread may take this many times what one row may.
_INLINE_BATCH = 4


@dataclass(frozen=True)
class LoaderOptions:
    """How models are run.

    Attributes:
        device: for the sessions.
        intra_op_threads: of a session; 0: one where runs are short, else all there are.
        max_batch_rows: rows of one run, at most.
        max_waiting: requests that may wait for a model version.
        instances: runs of a model version that may go on at once.
        inline_run_s: a model whose run of one row takes less runs on the thread that brings
            the requests; a hop to another thread would cost as much.
    """

    device: Literal["auto", "cpu", "cuda"] = "auto"
    intra_op_threads: int = 0
    max_batch_rows: int = 64
    max_waiting: int = 1024
    instances: int = 1
    inline_run_s: float = 0.001


@dataclass(frozen=True)
class _Tried:
    """A session that may be served, and what was seen of it."""

    session: Session
    signature: Signature
    times: dict[int, float]  # seconds of a run, by rows


class Loader:
    """Fetch, verify, open, replay the golden examples, warm up; requests never wait for it."""

    def __init__(self, store: ModelStore, options: LoaderOptions) -> None:
        self._store = store
        self._options = options

    def load(self, name: str, version: int) -> Model:
        """A model that is ready to answer.

        Raises:
            DataLoss: a file is not what its manifest says, or answers are not the golden ones.
            InvalidArgument: ONNX Runtime cannot load it.
            NotFound: the version has gone.
        """
        started = perf_counter()
        artefact = at_low_priority(lambda: self._store.fetch(name, version))
        tried = at_low_priority(lambda: self._try(artefact, threads=1))
        threads = self._threads(tried)
        if threads > 1:
            # Opened again in this thread, whose priority those of the session will inherit.
            tried = self._try(artefact, threads)
        plan = self._plan(tried)
        engine: Engine[Any] = Engine(tried.session, plan, tried.signature.label)
        seconds = perf_counter() - started
        _log.info(
            "model loaded",
            model=name,
            version=version,
            seconds=round(seconds, 3),
            device=tried.session.device,
            run_ms=round(1e3 * tried.times.get(1, 0), 3),
            max_rows=plan.max_rows,
            inline_rows=plan.inline_rows,
        )
        return Model(name, version, tried.signature, engine, seconds)

    def _try(self, artefact: Artefact, threads: int) -> _Tried:
        manifest = artefact.manifest
        session = open_session(
            artefact.read(MODEL),
            RuntimeOptions(device=self._options.device, intra_op_threads=threads),
        )
        names = [spec.name for spec in session.outputs]
        if manifest.is_verified:
            examples = artefact.read(GOLDEN)
            golden.replay(
                lambda feeds: dict(zip(names, session.run(feeds), strict=True)),
                examples,
                manifest.tolerances["fp32"],
            )
            row = warmup.first_row(session.inputs, golden.read_golden(examples).inputs)
        else:
            row = warmup.example(session.inputs)
        matters = warmup.company_matters(session.run, session.inputs, session.outputs, row)
        signature = Signature(
            manifest.model, str(manifest.version), session.inputs, session.outputs, not matters
        )
        if matters:
            _log.info("requests run alone", model=signature.label, reason=matters)
        try:
            limit = 0 if matters else self._options.max_batch_rows
            times = warmup.run_times(session.run, row, limit)
        except InvalidTensor as error:
            # Made-up examples do not suit every imported model; real requests may.
            if manifest.is_verified:
                raise
            _log.warning("could not warm up", model=signature.label, reason=str(error))
            times = {}
        return _Tried(session, signature, times)

    def _threads(self, tried: _Tried) -> int:
        if self._options.intra_op_threads:
            return self._options.intra_op_threads
        is_short = tried.times.get(1, math.inf) <= self._options.inline_run_s
        return 1 if is_short or tried.session.device != "cpu" else available_threads()

    def _plan(self, tried: _Tried) -> Plan:
        options, times = self._options, tried.times
        inline_rows = 0
        if tried.signature.has_fixed_cost and times.get(1, math.inf) <= options.inline_run_s:
            longest = _INLINE_BATCH * options.inline_run_s
            inline_rows = max(rows for rows, seconds in times.items() if seconds <= longest)
        return Plan(
            inputs=tuple(spec.name for spec in tried.session.inputs),
            max_rows=options.max_batch_rows if tried.signature.is_rowwise else 0,
            inline_rows=inline_rows,
            threads=options.instances,
            max_waiting=options.max_waiting,
        )


def at_low_priority(task: Callable[[], T]) -> T:
    """Do a task in a thread that leaves the CPU to requests where both want it.

    A thread of its own, since an unprivileged thread cannot raise its priority again.
    """
    future: Future[T] = Future()

    def work() -> None:
        if sys.platform == "linux":  # elsewhere priorities belong to processes
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        try:
            future.set_result(task())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=work, name="model-loader", daemon=True).start()
    return future.result()
