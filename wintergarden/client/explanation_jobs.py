"""Explanations and attacks that take long, as jobs; and what they leave, as files."""

from __future__ import annotations

import hashlib
import io
import json
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict, Unpack

import numpy as np
import numpy.typing as npt

from wintergarden.client.answers import Array, Picture
from wintergarden.client.attacks import Norm, attack_request
from wintergarden.client.call import Call, Flow
from wintergarden.client.explanation import Players, explain_request
from wintergarden.client.jobs import Job
from wintergarden.client.regions import Region
from wintergarden.client.rows import context_for, numbers_for, rows_for
from wintergarden.errors import DataLoss
from wintergarden.wire import explanation_pb2 as pb
from wintergarden.wire import training_pb2
from wintergarden.wire.pool import methods

_SUBMIT = methods("wintergarden.v1.ExplanationService")["SubmitExplanation"]
_METHODS = methods("wintergarden.v1.TrainingService")
_SUBMIT_TIMEOUT_S = 120.0
_PICTURES = {".png": "image/png", ".svg": "image/svg+xml"}


class JobOptions(TypedDict, total=False):
    """What every submission takes beside what is to be done; every one may be left out.

    Attributes:
        priority: -100 to 100; higher ones run first.
        request_id: the same id submitted again returns the same job; default: a new one, so
            that a repeated request cannot become two jobs.
        max_seconds: of running, over all attempts; 0: no limit.
        max_memory_mb: mebibytes that the job may use; 0: no limit.
    """

    priority: int
    request_id: str | None
    max_seconds: float
    max_memory_mb: int


@dataclass(frozen=True, eq=False)
class JobResult:
    """What a job has left.

    Attributes:
        summary: method, model, version, digest, units and whatever else says what it is.
        files: content by name, the pictures' among them; checked against their sha256.
    """

    summary: Mapping[str, Any]
    files: Mapping[str, bytes]

    @property
    def arrays(self) -> dict[str, Array]:
        """Those of `result.npz`, one entry per row: `attributions`, `adversarial`, …"""
        with np.load(io.BytesIO(self.files["result.npz"]), allow_pickle=False) as held:
            return dict(held)

    @property
    def pictures(self) -> tuple[Picture, ...]:
        return tuple(
            Picture(name, kind, content)
            for name, content in self.files.items()
            if (kind := _PICTURES.get(Path(name).suffix))
        )

    def save(self, directory: Path | str) -> list[Path]:
        """Write all files and `summary.json` into a directory, which is made; their paths."""
        folder = Path(directory)
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps(dict(self.summary), indent=2, sort_keys=True)
        written = []
        for name, content in {**self.files, "summary.json": text.encode()}.items():
            # The name comes from the network: only its last part may name a file here.
            path = folder / (Path(name).name or "file")
            path.write_bytes(content)
            written.append(path)
        return written


def submit_explain(
    model: str,
    inputs: npt.ArrayLike | None = None,
    method: str = "kernel_shap",
    *,
    examples: tuple[int, int] | None = None,
    version: int = 0,
    targets: Sequence[int] = (),
    players: Players | None = None,
    background: npt.ArrayLike | None = None,
    background_summary: str = "",
    max_evaluations: int = 0,
    output_name: str = "",
    seed: int = 0,
    parameters: Mapping[str, float] | None = None,
    layer: str = "",
    region: Region | None = None,
    input_name: str = "",
    context: Mapping[str, npt.ArrayLike] | None = None,
    render: bool = False,
    **options: Unpack[JobOptions],
) -> Flow[Job]:
    """Queue an explanation; as `explain` otherwise.

    Args:
        model: its name; the job keeps to the version there is when it is submitted.
        inputs: (N, …), or texts; None: `examples` are explained.
        method: `explanation_methods` lists them.
        examples: first and number (0: all that follow) of the version's own held-out examples.
        version: 0 is the latest.
        targets: the explained output's index, one per row or one for all; default: the predicted.
        players: what gets a value.
        background: (M, …), what "absent" means; default: the model's own background sample.
        background_summary: mean or sample.
        max_evaluations: model rows per explained row; 0: the server's default.
        output_name: default: logits, or the value of a regression.
        seed: of the sampling.
        parameters: of the method.
        layer: inner tensor, as `explain`'s.
        region: of an output with places, as `explain`'s.
        input_name: of several inputs the explained one, as `explain`'s.
        context: of several inputs all the others, as `explain`'s.
        render: also draw pictures, of the first rows.
        options: see `JobOptions`.

    Raises:
        InvalidArgument: an unknown method, too many rows; the message says what is allowed.
    """
    request = _submission(examples, options)
    request.explain.CopyFrom(
        explain_request(
            model,
            (yield from rows_for(model, inputs, version=version, name=input_name)),
            method,
            version=version,
            targets=targets,
            players=players,
            background=(
                yield from numbers_for(model, background, version=version, name=input_name)
            ),
            background_summary=background_summary,
            max_evaluations=max_evaluations,
            output_name=output_name,
            seed=seed,
            parameters=parameters,
            layer=layer,
            region=region,
            input_name=input_name,
            context=(yield from context_for(model, context, version=version)),
            render=render,
        )
    )
    response = yield Call(_SUBMIT, request, _SUBMIT_TIMEOUT_S)
    return Job.from_message(response.job)


def submit_attack(
    model: str,
    inputs: npt.ArrayLike | None = None,
    method: str = "fgsm",
    *,
    epsilon: float = 0.0,
    norm: Norm | None = None,
    changeable: npt.ArrayLike | None = None,
    one_of: Sequence[Sequence[int]] = (),
    parameters: Mapping[str, float] | None = None,
    examples: tuple[int, int] | None = None,
    version: int = 0,
    labels: Sequence[int] = (),
    targets: Sequence[int] = (),
    value_range: tuple[float, float] | None = None,
    output_name: str = "",
    render: bool = False,
    **options: Unpack[JobOptions],
) -> Flow[Job]:
    """Queue an attack; as `attack` otherwise, `examples` and `options` as `submit_explain`.

    Of the version's own examples the labels are those they came with, unless others are given.
    """
    request = _submission(examples, options)
    request.attack.CopyFrom(
        attack_request(
            model,
            (yield from rows_for(model, inputs, version=version)),
            method,
            epsilon=epsilon,
            norm=norm,
            changeable=changeable,
            one_of=one_of,
            parameters=parameters,
            version=version,
            labels=labels,
            targets=targets,
            value_range=value_range,
            output_name=output_name,
            render=render,
        )
    )
    response = yield Call(_SUBMIT, request, _SUBMIT_TIMEOUT_S)
    return Job.from_message(response.job)


def submit_robustness(
    model: str,
    method: str = "fgsm",
    *,
    epsilons: Sequence[float] = (),
    norm: Norm | None = None,
    parameters: Mapping[str, float] | None = None,
    version: int = 0,
    max_examples: int = 0,
    render: bool = False,
    **options: Unpack[JobOptions],
) -> Flow[Job]:
    """Queue a curve of accuracy; as `robustness` otherwise, `options` as `submit_explain`."""
    request = _submission(None, options)
    work = request.robustness
    work.model_name, work.model_version, work.method = model, version, method
    work.epsilons.extend(epsilons)
    work.norm = norm or ""
    work.parameters.update(parameters or {})
    work.max_examples, work.render = max_examples, render
    response = yield Call(_SUBMIT, request, _SUBMIT_TIMEOUT_S)
    return Job.from_message(response.job)


def result(job_id: str) -> Flow[JobResult]:
    """What a job that succeeded has left.

    Raises:
        FailedPrecondition: it has not succeeded, or is of a kind that leaves no files.
        DataLoss: what came is not what was written.
    """
    listed = yield Call(_METHODS["ListJobFiles"], training_pb2.ListJobFilesRequest(job_id=job_id))
    files: dict[str, bytes] = {}
    for file in listed.files:
        content = bytearray()
        while len(content) < file.size:
            request = training_pb2.ReadJobFileRequest(
                job_id=job_id, name=file.name, offset=len(content)
            )
            answer = yield Call(_METHODS["ReadJobFile"], request, _SUBMIT_TIMEOUT_S)
            if not answer.chunk:
                break
            content += answer.chunk
        if hashlib.sha256(content).hexdigest() != file.sha256:
            raise DataLoss(f"file {file.name!r} of job {job_id} is not what was written")
        files[file.name] = bytes(content)
    return JobResult(json.loads(listed.summary_json or "{}"), files)


def _submission(
    examples: tuple[int, int] | None, options: JobOptions
) -> pb.SubmitExplanationRequest:
    request = pb.SubmitExplanationRequest(
        request_id=options.get("request_id") or uuid.uuid4().hex,
        priority=options.get("priority", 0),
        max_seconds=options.get("max_seconds", 0.0),
        max_memory_mb=options.get("max_memory_mb", 0),
    )
    if examples is not None:
        request.examples.start, request.examples.count = examples
    return request
