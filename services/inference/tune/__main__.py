"""Measures ways of serving a model and writes the best one into the store.

Prints a line of JSON for every trial, and a last one with the result. While it runs it needs the
machine for itself: what else is busy is measured too.

    python -m services.inference.tune --store-uri ./models --model lenet5 --p99-ms 5
    python -m services.inference.tune --store-uri ./models --model cnn --concurrency 32 --dry-run
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Any, Literal

from google.protobuf import text_format
from pydantic import Field
from pydantic_settings import SettingsConfigDict

from services.inference.sources import Kind, open_source
from services.inference.tune.search import Search, Space, Trial, is_better
from services.inference.tune.workbench import Workbench
from wintergarden.errors import FailedPrecondition, WintergardenError
from wintergarden.runtime import available_threads
from wintergarden.service import logging
from wintergarden.service.settings import LogLevel, ProcessSettings, load
from wintergarden.store import open_store
from wintergarden.wire.model_config_pb2 import ModelConfig

MODULE = "services.inference.tune"
# The winner is measured once more, beside what is served now, for so many times as long.
_CONFIRMATION = 2


class TuneSettings(ProcessSettings):
    """Flags of `python -m services.inference.tune`, or TUNE_<FIELD> in the environment."""

    model_config = SettingsConfigDict(env_prefix="TUNE_", frozen=True, hide_input_in_errors=True)

    log_level: LogLevel = Field("warning", description="least severe level that is logged")
    store_uri: str = Field(description="model store, or a Triton repository with --dry-run")
    repository_kind: Kind = Field("auto", description="what lies at store_uri")
    model: str = Field(description="name of the model")
    version: int = Field(0, ge=0, description="of the model; 0: the latest")
    p99_ms: float = Field(20.0, gt=0, description="99 of 100 answers must come within this time")
    concurrency: int = Field(8, ge=1, le=1024, description="callers at once")
    rows: int = Field(1, ge=1, le=4096, description="examples in a request")
    max_batch_size: int = Field(
        1, ge=1, description="largest batch that is tried, where that is more than now"
    )
    seconds: float = Field(1.0, gt=0, description="of each trial")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="where the model runs")
    dry_run: bool = Field(False, description="measure, and write nothing")


def main() -> None:
    """Exits with 1 when the model cannot be measured; the last line says why."""
    settings = load(TuneSettings, MODULE)
    logging.configure("tune", settings)
    try:
        tune(settings)
    except WintergardenError as error:
        _say({"event": "error", "message": error.message})
        sys.exit(1)


def tune(settings: TuneSettings) -> None:
    source = open_source(settings.store_uri, settings.repository_kind)
    if source.kind != "model store" and not settings.dry_run:
        raise FailedPrecondition(
            f"{source.uri} is a {source.kind}, whose configurations are yours to write; "
            "measure with --dry-run and copy the configuration that it prints"
        )
    bench = Workbench(
        source, settings.model, settings.version, device=settings.device, rows=settings.rows
    )
    space = Space(
        cores=available_threads(),
        # Who is served in batches of more than callers can fill now may have more callers later.
        max_batch_size=max(bench.max_batch_size, settings.max_batch_size)
        if bench.is_rowwise
        else 0,
        concurrency=settings.concurrency * settings.rows,
    )
    search = Search(
        space,
        settings.p99_ms,
        lambda candidate: bench.measure(
            candidate, concurrency=settings.concurrency, seconds=settings.seconds
        ),
    )
    for trial in search.run():
        _say({"event": "trial", **_told(trial)})
    before, best = _confirmed(bench, search, settings)
    config = _text(bench.base if best.candidate is None else best.candidate.configure(bench.base))
    is_written = best.candidate is not None and not settings.dry_run
    if is_written:
        open_store(settings.store_uri).write_configuration(settings.model, config.encode())
    _say(
        {
            "event": "result",
            "model": settings.model,
            "version": bench.version,
            "p99_ms": settings.p99_ms,
            "concurrency": settings.concurrency,
            "before": _told(before),
            "best": _told(best),
            "config": config,
            "is_written": is_written,
        }
    )


def _confirmed(bench: Workbench, search: Search, settings: TuneSettings) -> tuple[Trial, Trial]:
    """What is served now and the best, measured side by side; the first of many is often luck."""
    before, best = search.trials[0], search.best()
    if best.candidate is None:
        return before, before
    seconds = _CONFIRMATION * settings.seconds
    again = []
    for candidate in (None, best.candidate):
        measured = bench.measure(candidate, concurrency=settings.concurrency, seconds=seconds)
        again.append(Trial(candidate, measured, measured.p99_ms <= settings.p99_ms))
    before, best = again
    return before, best if is_better(best, before) else before


def _told(trial: Trial) -> dict[str, Any]:
    candidate = None if trial.candidate is None else asdict(trial.candidate)
    return {"candidate": candidate, **asdict(trial.measurement), "fits": trial.fits}


def _text(config: ModelConfig) -> str:
    config = ModelConfig.FromString(config.SerializeToString())
    config.ClearField("name")  # the folder's name says it
    text: str = text_format.MessageToString(config)
    return text


def _say(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
