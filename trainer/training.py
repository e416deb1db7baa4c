"""The kind of job that trains: data → recipe → export → store, going on from a checkpoint.

Imports torch, which takes seconds: `trainer.child` imports this when an order to train has come, or
before, where it was started to be ready for one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch._dynamo  # whoever makes the first optimizer would wait a second for it

from trainer.checkpoint import Origin
from trainer.checkpointer import Checkpointer, restore
from trainer.data.dataset import Dataset
from trainer.data.registry import describe, load
from trainer.distributed import joined
from trainer.export.charts import Chart
from trainer.export.family import make_releases
from trainer.export.publish import publish_family
from trainer.order import TrainingOrder, parse_training_order
from trainer.recipes.device import choose_device
from trainer.recipes.hyperparameters import SupervisedHyperparameters
from trainer.recipes.supervised import train
from trainer.recipes.tasks import check_task
from trainer.recipes.trained import Trained
from trainer.recipes.transfer import Source
from trainer.recipes.watcher import Checkpointable, Watcher
from trainer.sources import find_source
from trainer.tensorboard import curves
from trainer.zoo.registry import Architecture, architectures, check_fits, find
from wintergarden.errors import WintergardenError
from wintergarden.runtime import available_threads
from wintergarden.store import open_store
from wintergarden.store.datasets import open_datasets
from wintergarden.store.job_files import JobFiles, open_job_files
from wintergarden.store.promotion import check_conditions, check_variants, parse_conditions
from wintergarden.worker.control import Control
from wintergarden.worker.leftovers import sweep_superseded
from wintergarden.worker.space import when_there_is_space

# Shares of the whole job, for progress: training takes nearly all of it.
DATA_END, TRAIN_END, EXPORT_END = 0.03, 0.9, 0.98

architectures()  # imports them: this module is imported to have everything ready


@dataclass(frozen=True)
class _Assignment:
    """An order, and what its words stand for."""

    order: TrainingOrder
    architecture: Architecture
    hyperparameters: SupervisedHyperparameters
    dataset: Dataset
    device: torch.device

    def origin(self) -> Origin:
        return Origin.here(
            self.order.architecture,
            self.hyperparameters,
            self.dataset,
            self.order.seed,
            device=self.device.type,
            processes=self.order.processes,
        )


def run(text: bytes | str, control: Control) -> dict[str, Any]:
    """Carry out an order to train.

    Returns:
        "model", "version" and "metrics" of what was published.

    Raises:
        Stopped: it was asked to.
        WintergardenError: the order, the data or the store would not do.
    """
    order = parse_training_order(text)
    control.progress("data", 0.0)
    torch.set_num_threads(min(torch.get_num_threads(), available_threads()))
    assignment = _understand(order)
    store = open_store(order.release_uri or order.store_uri)
    store.list_versions(order.model_name)  # a store out of reach is better met before the work
    control.progress("train", DATA_END)
    trained = _train(text, assignment, control)
    control.log(
        "info", f"weights of epoch {trained.kept_epoch} of {len(trained.history)}; exporting"
    )
    control.progress("export", TRAIN_END)

    def warn(warning: str) -> None:
        control.log("warning", warning)

    def may_publish(version: int) -> bool:
        control.progress("publish", EXPORT_END)
        return control.may_publish(version)

    releases = make_releases(trained, order.model_name, order.variants, warn)
    _show(releases[-1].charts, order, control)
    manifest = when_there_is_space(
        lambda: publish_family(
            store, order.model_name, releases, order.job_id, may_publish, conditions=order.promote
        ),
        control,
        "export",
        TRAIN_END,
    )
    return {"model": manifest.model, "version": manifest.version, "metrics": manifest.metrics}


def _show(charts: Sequence[Chart], order: TrainingOrder, control: Control) -> None:
    """Pictures for those who watch the job; without them it is as good a training."""
    if not order.fence:
        return
    files = open_job_files(order.store_uri, order.job_id)
    for chart in charts:
        name = f"{order.fence}/{chart.name}"
        try:
            files.put(name, chart.content)
        except (WintergardenError, OSError) as error:
            control.log("warning", f"picture {chart.name} is left out: {error}")
            return
        control.picture(name, chart.caption, 0)


def _understand(order: TrainingOrder) -> _Assignment:
    """Refuses what would fail after hours of training, too."""
    architecture, datasets = find(order.architecture), open_datasets(order.store_uri)
    check_fits(architecture, describe(order.dataset, datasets))
    hyperparameters = architecture.hyperparameters.parse(order.hyperparameters)
    check_variants(order.variants)
    check_conditions(parse_conditions(order.promote), order.variants)
    device = choose_device(order.device, 0, order.processes)
    dataset = load(order.dataset, datasets)
    if not architecture.is_fixed:
        check_task(dataset.info, hyperparameters)
    return _Assignment(order, architecture, hyperparameters, dataset, device)


def _source(assignment: _Assignment, state: Mapping[str, Any] | None) -> Source | None:
    """The weights to begin with; of a training that goes on, those that it did begin with.

    Names and labels may stand for others by now.
    """
    if assignment.architecture.is_fixed or not assignment.hyperparameters.init_from:
        return None
    uri = assignment.order.store_uri
    begun = str((state or {}).get("parent", "")).partition(" ")[0]
    wanted = begun or assignment.hyperparameters.init_from
    return find_source(wanted, open_store(uri), open_datasets(uri))


def _train(text: bytes | str, assignment: _Assignment, control: Control) -> Trained:
    order, device = assignment.order, assignment.device
    state, on_checkpoint = None, Watcher().on_checkpoint
    if order.fence:
        files, origin = open_job_files(order.store_uri, order.job_id), assignment.origin()
        _make_room(files, order)
        if order.checkpoint:
            state = restore(files, order.checkpoint, origin, control.log)
        on_checkpoint = _checkpoints(files, order, origin, control)
    source = _source(assignment, state)

    def on_step(step: int, steps: int) -> None:
        done = DATA_END + (TRAIN_END - DATA_END) * step / steps
        control.progress("train", done, step, is_due=False)

    def on_epoch(step: int, metrics: Mapping[str, float]) -> None:
        control.say("metrics", step=step, values=dict(metrics))
        draw(step, metrics)

    with (
        curves(_curves_folder(order), lambda warning: control.log("warning", warning)) as draw,
        joined(text, order.processes, device) as ranks,
    ):
        return train(
            assignment.architecture,
            assignment.hyperparameters,
            assignment.dataset,
            order.seed,
            Watcher(on_step, on_epoch, on_checkpoint, control.log),
            state=state,
            source=source,
            device=device,
            ranks=ranks,
        )


def _curves_folder(order: TrainingOrder) -> Path | None:
    if not order.tensorboard_dir:
        return None
    return Path(order.tensorboard_dir) / order.model_name / (order.job_id or "alone")


def _make_room(files: JobFiles, order: TrainingOrder) -> None:
    """Sweeps what earlier attempts left, and finds out whether the store may be written to."""
    sweep_superseded(files, order.fence, order.checkpoint)
    probe = f"{order.fence}/probe"
    files.put(probe, b"")
    files.delete(probe)


def _checkpoints(
    files: JobFiles, order: TrainingOrder, origin: Origin, control: Control
) -> Callable[[Checkpointable, bool], None]:
    checkpointer = Checkpointer(
        files,
        order.fence,
        origin,
        control.keep_checkpoint,
        control.log,
        kept=order.checkpoint,
        interval_s=order.checkpoint_interval_s,
    )

    def on_checkpoint(training: Checkpointable, is_last: bool) -> None:
        if control.has_licence:  # else nobody would ever go on from it
            checkpointer(training, is_last)

    return on_checkpoint
