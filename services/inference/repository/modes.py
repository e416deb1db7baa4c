"""Chooses the model control: who decides which models are loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from services.inference.repository.control import Load, ModelControl
from services.inference.repository.explicit import ExplicitControl
from services.inference.repository.repository import Repository
from services.inference.repository.watcher import Watcher
from services.inference.sources.source import Source
from wintergarden.runtime.rehearsal import Rehearsal


@dataclass(frozen=True)
class ControlOptions:
    """How models come to be loaded.

    Attributes:
        mode: `watch` and `poll` load whatever is published, `explicit` what is asked for.
        versions_served: of a model without a version policy, how many of the latest.
        poll_interval_s: between looks at what is published.
        load_models: names of the models that `explicit` loads at the start; `*` stands for all.
        parallel_loads: models that `watch` and `poll` may be loading at once.
        tries_files: graphs that come with a load request are first tried in a process of
            their own.
    """

    mode: Literal["watch", "poll", "explicit"] = "watch"
    versions_served: int = 4
    poll_interval_s: float = 1.0
    load_models: tuple[str, ...] = ()
    parallel_loads: int = 4
    tries_files: bool = True


def create_control(
    source: Source,
    repository: Repository,
    load: Load,
    options: ControlOptions,
    on_complete: Callable[[], None],
) -> ModelControl:
    """A control that has not started."""
    # Triton serves the latest version alone where no policy says more.
    versions_served = source.default_versions or options.versions_served
    if options.mode == "explicit":
        return ExplicitControl(
            source,
            repository,
            load,
            load_models=options.load_models,
            versions_served=versions_served,
            rehearsal=Rehearsal() if options.tries_files else None,
            look_interval_s=options.poll_interval_s,
            on_complete=on_complete,
        )
    return Watcher(
        source,
        repository,
        load,
        versions_served=versions_served,
        poll_interval_s=options.poll_interval_s,
        parallel_loads=options.parallel_loads,
        on_complete=on_complete,
    )
