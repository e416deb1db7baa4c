"""Training: what can be trained, and having it trained."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypedDict, Unpack

from wintergarden.client.call import Call, Flow
from wintergarden.client.jobs import Job
from wintergarden.wire import training_pb2 as pb
from wintergarden.wire.pool import methods

_METHODS = methods("wintergarden.v1.TrainingService")


@dataclass(frozen=True)
class Architecture:
    """What can be trained. `hyperparameters_schema` is a JSON Schema; `source` names the paper."""

    name: str
    summary: str
    task: str
    source: str
    hyperparameters_schema: Mapping[str, Any]
    datasets: tuple[str, ...]


@dataclass(frozen=True)
class Dataset:
    """What can be trained on; `input_shape` is one example's, `split_sizes` count examples."""

    name: str
    summary: str
    task: str
    input_shape: tuple[int, ...]
    class_labels: tuple[str, ...]
    split_sizes: Mapping[str, int]
    source: str


class TrainingOptions(TypedDict, total=False):
    """What `submit` takes beside what is trained; every one may be left out.

    Attributes:
        model: the name to publish under; default: architecture-dataset.
        seed: of everything random in the training.
        device: auto, cpu or cuda; cuda waits for a worker that has it.
        processes: that share each batch.
        max_seconds: of running, over all attempts; 0: no limit.
        max_memory_mb: mebibytes that the training may use; 0: no limit.
        variants: of the served graph beside the float32 one: fp16, int8.
        promote: conditions such as "test_accuracy>=0.97"; the version becomes `stable` only if
            all of them hold.
        priority: -100 to 100; higher ones run first.
        request_id: the same id submitted again returns the same job; default: a new one, so
            that a repeated request cannot become two jobs.
    """

    model: str
    seed: int
    device: str
    processes: int
    max_seconds: float
    max_memory_mb: int
    variants: Iterable[str]
    promote: Iterable[str]
    priority: int
    request_id: str | None


class SearchOptions(TrainingOptions, total=False):
    """What `search` takes beside; `promote` is of the best trial's model.

    Attributes:
        trials: at most; default 20.
        parallel: at once, at most; default 2.
        metric: that trainings report after each epoch; default validation_accuracy.
        minimize: less of it is better.
        pruning: gives trials up early: median (default), hyperband or none.
    """

    trials: int
    parallel: int
    metric: str
    minimize: bool
    pruning: str


_OF_SEARCH = ("trials", "parallel", "metric", "minimize", "pruning")


def submit(
    architecture: str,
    dataset: str,
    hyperparameters: Mapping[str, Any] | None = None,
    **options: Unpack[TrainingOptions],
) -> Flow[Job]:
    """Queue a training job.

    Args:
        architecture: for example "lenet5"; `architectures` lists them.
        dataset: for example "mnist-5k"; `datasets` lists them.
        hyperparameters: validated by the server against the architecture's schema.
        options: see `TrainingOptions`.

    Raises:
        NotFound: an unknown architecture or data set; the message names the known ones.
        InvalidArgument: a hyperparameter or option; the message names it and its limits.
    """
    fields: dict[str, Any] = {**options}
    request = pb.SubmitTrainingRequest(
        request_id=fields.pop("request_id", None) or uuid.uuid4().hex,
        priority=fields.pop("priority", 0),
        training=pb.TrainingSpec(
            architecture=architecture,
            dataset=dataset,
            hyperparameters_json=json.dumps(dict(hyperparameters or {})),
            **fields,
        ),
    )
    response = yield Call(_METHODS["SubmitTraining"], request)
    return Job.from_message(response.job)


def search(
    architecture: str,
    dataset: str,
    space: Mapping[str, Any],
    hyperparameters: Mapping[str, Any] | None = None,
    **options: Unpack[SearchOptions],
) -> Flow[Job]:
    """Queue a search of hyperparameters; its trials are trainings, its children.

    Args:
        architecture: for example "lenet5".
        dataset: for example "mnist-5k".
        space: by hyperparameter what it may be: {"type": "float", "low": 1e-4, "high": 0.1,
            "log": True}, {"type": "int", "low": 1, "high": 9, "step": 2} or {"type": "choice",
            "choices": [32, 64]}.
        hyperparameters: that all trials have in common.
        options: see `SearchOptions`; `seed` is of the trials and of the search.
    """
    fields: dict[str, Any] = {**options}
    request_id = fields.pop("request_id", None) or uuid.uuid4().hex
    priority = fields.pop("priority", 0)
    own = {n: fields.pop(n) for n in _OF_SEARCH if n in fields}
    spec = pb.SearchSpec(
        training=pb.TrainingSpec(
            architecture=architecture,
            dataset=dataset,
            hyperparameters_json=json.dumps(dict(hyperparameters or {})),
            **fields,
        ),
        space_json=json.dumps(dict(space)),
        seed=fields.get("seed", 0),
        **own,
    )
    request = pb.SubmitSearchRequest(search=spec, request_id=request_id, priority=priority)
    response = yield Call(_METHODS["SubmitSearch"], request)
    return Job.from_message(response.job)


def clone(
    job_id: str,
    changes: Mapping[str, Any] | None = None,
    *,
    priority: int = 0,
    request_id: str | None = None,
) -> Flow[Job]:
    """Queue a job like another one, with changes.

    Args:
        job_id: which one; it may have ended.
        changes: merged into its `spec` (JSON merge patch, RFC 7396): {"seed": 1,
            "hyperparameters": {"epochs": 20, "l2": None}}; None removes, so that the default holds.
        priority: -100 to 100.
        request_id: as of `submit`.
    """
    request = pb.CloneJobRequest(
        job_id=job_id,
        changes_json=json.dumps(dict(changes or {})),
        request_id=request_id or uuid.uuid4().hex,
        priority=priority,
    )
    response = yield Call(_METHODS["CloneJob"], request)
    return Job.from_message(response.job)


def architectures() -> Flow[list[Architecture]]:
    """What the workers can train."""
    response = yield Call(_METHODS["DescribeArchitectures"], pb.DescribeArchitecturesRequest())
    return [
        Architecture(
            name=a.name,
            summary=a.summary,
            task=a.task,
            source=a.source,
            hyperparameters_schema=json.loads(a.hyperparameters_schema_json or "{}"),
            datasets=tuple(a.datasets),
        )
        for a in response.architectures
    ]


def datasets() -> Flow[list[Dataset]]:
    """What the workers can train on."""
    response = yield Call(_METHODS["DescribeDatasets"], pb.DescribeDatasetsRequest())
    return [
        Dataset(
            name=d.name,
            summary=d.summary,
            task=d.task,
            input_shape=tuple(d.input_shape),
            class_labels=tuple(d.class_labels),
            split_sizes=dict(d.split_sizes),
            source=d.source,
        )
        for d in response.datasets
    ]
