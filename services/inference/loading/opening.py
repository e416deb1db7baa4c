"""Opens the graph of a version and holds it to what was recorded where it was trained."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from services.inference.loading import variants, warmup
from services.inference.loading.runtime_options import runtime_options
from services.inference.loading.warmup import Feeds
from services.inference.scheduling.priorities import at_low_priority
from services.inference.sources.source import VersionFiles
from wintergarden.errors import DataLoss, InvalidTensor
from wintergarden.runtime import RuntimeOptions, Session, open_session
from wintergarden.store import golden
from wintergarden.wire.model_config_pb2 import ModelConfig
from wintergarden.wire.tensors import dtype_of

_SURELY_SLOW_BYTES = 16 * 2**20
"""A graph of so many weights is opened with all threads at once: opened twice it takes seconds."""


@dataclass(frozen=True)
class Opened:
    """A session whose answers are the golden ones, where there are any.

    Attributes:
        session: of the graph.
        row: one example of every input.
        is_recorded: the example is a golden one, and not made up.
        row_seconds: what a run of it takes; infinite when it could not be run.
        threads: that a run gets.
        is_free: nobody has said how many threads a run gets.
        open: opens another session with so many threads.
    """

    session: Session
    row: Feeds
    is_recorded: bool
    row_seconds: float
    threads: int
    is_free: bool
    open: Callable[[int], Session]

    def company_matters(self, *, compares_values: bool) -> str:
        """Why requests cannot share a run, or nothing when they can."""
        session = self.session
        return warmup.company_matters(
            session.run, session.inputs, session.outputs, self.row, compares_values=compares_values
        )

    def with_threads_for(self, inline_run_s: float, most: int) -> Opened:
        """With one thread where runs take no longer than that, else with as many as there are."""
        threads = most if self.row_seconds > inline_run_s else 1
        if not self.is_free or threads == self.threads:
            return self
        session = at_low_priority(lambda: self.open(threads))
        return replace(self, session=session, threads=threads)


def open_version(
    files: VersionFiles, config: ModelConfig, device: variants.Device, threads: int, most: int
) -> Opened:
    """Open the graph that a configuration names.

    Args:
        files: of the version.
        config: of the model.
        device: where models run that do not say so themselves.
        threads: of a run, for models that do not say so themselves; 0: to be found out.
        most: what there are of them, for a run that is surely long.

    Raises:
        DataLoss: a file is not what its manifest says, or answers are not the golden ones.
        FailedPrecondition: a GPU is demanded and cannot be had.
        InvalidArgument: ONNX Runtime cannot load it.
        NotFound: there is no such file.
        Unsupported: ONNX Runtime lacks an operator, or an input or output is no tensor.
    """
    base = RuntimeOptions(device=variants.device(config, device), intra_op_threads=threads)
    options = runtime_options(config, base)
    threads = options.intra_op_threads
    precision = variants.precision(config)
    content = at_low_priority(lambda: files.model(variants.file_name(config)))
    examples = files.golden()
    recorded = golden.read_golden(examples) if examples is not None else None

    def opened(count: int) -> Session:
        session = open_session(content, replace(options, intra_op_threads=count))
        if recorded is not None and files.manifest is not None:
            tolerance = files.manifest.tolerances.get(precision)
            if tolerance is None:
                raise DataLoss(
                    f"the manifest has no tolerance for {precision}; it has "
                    f"{', '.join(files.manifest.tolerances)}"
                )
            golden.compare(_run_recorded(session, recorded), recorded, tolerance)
        return session

    first = threads or (most if _size(content) >= _SURELY_SLOW_BYTES else 1)
    session = at_low_priority(lambda: opened(first))
    row = warmup.example(session.inputs)
    if recorded is not None:
        row = warmup.first_row(session.inputs, _cast(session, recorded.inputs))
    return Opened(
        session,
        row,
        recorded is not None,
        at_low_priority(lambda: _row_seconds(session, row)),
        threads=first,
        is_free=not threads and session.device == "cpu",
        open=opened,
    )


def _size(content: bytes | Path) -> int:
    return content.stat().st_size if isinstance(content, Path) else len(content)


def _run_recorded(session: Session, recorded: golden.Golden) -> Feeds:
    results = session.run(_cast(session, recorded.inputs))
    return {spec.name: a for spec, a in zip(session.outputs, results, strict=True)}


def _cast(session: Session, feeds: Feeds) -> Feeds:
    """A variant of lower precision may take its inputs in it."""
    types = {spec.name: dtype_of(spec.datatype, spec.name) for spec in session.inputs}
    return {
        name: array.astype(types[name])
        if array.dtype.kind == "f" and types.get(name, array.dtype) != array.dtype
        else array
        for name, array in feeds.items()
    }


def _row_seconds(session: Session, row: Feeds) -> float:
    try:
        return warmup.run_times(session.run, row, max_rows=0)[1]
    except InvalidTensor:
        return math.inf
