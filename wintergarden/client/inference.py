"""Inference over the Open Inference Protocol: any server that speaks it will do."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from wintergarden.client.call import Call, Flow, Pause, bounded
from wintergarden.client.rows import array_of, fitted
from wintergarden.client.texts import encoded, is_text
from wintergarden.errors import (
    DataLoss,
    DeadlineExceeded,
    FailedPrecondition,
    InvalidTensor,
    NotFound,
)
from wintergarden.wire import open_inference_pb2 as pb
from wintergarden.wire import tensors
from wintergarden.wire.pool import methods

_METHODS = methods("inference.GRPCInferenceService")
_POLL_S = 0.1


@dataclass(frozen=True)
class TensorInfo:
    """A model's input or output; -1 in `shape` stands for any size."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class ModelMetadata:
    """What a served model takes and gives."""

    name: str
    versions: tuple[str, ...]
    platform: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]


@dataclass(frozen=True)
class IndexEntry:
    """One version the server knows; `reason` says why it is not served."""

    name: str
    version: int
    state: str
    reason: str


@bounded
def infer(
    model: str,
    inputs: Mapping[str, npt.ArrayLike] | npt.ArrayLike,
    *,
    version: int = 0,
    outputs: Sequence[str] = (),
    timeout_s: float = 30.0,
) -> Flow[dict[str, np.ndarray[Any, Any]]]:
    """Run a model.

    Args:
        model: its name.
        inputs: array by input name. A bare array goes to the model's only input and takes its
            datatype, so that a list of numbers works; texts become token ids where the model has
            a vocabulary; arrays given by name are sent as they are.
        version: 0 is the latest.
        outputs: names of the outputs wanted; empty: all.
        timeout_s: for the answer, retries included.

    Returns:
        The outputs by name.

    Raises:
        NotFound: no such model, version or output.
        InvalidTensor: a wrong input name, datatype or shape.
    """
    if is_text(inputs):
        inputs = yield from encoded(model, inputs, version=version)
    if not isinstance(inputs, Mapping):
        served = yield from metadata(model, version=version)
        inputs = {served.inputs[0].name: _as_only_input(inputs, served)}
    request = pb.ModelInferRequest(model_name=model, model_version=_wire_version(version))
    for name, value in inputs.items():
        array = array_of(value)
        request.inputs.add(name=name, datatype=tensors.datatype_of(array.dtype), shape=array.shape)
        request.raw_input_contents.append(bytes(tensors.encode(array)))
    for name in outputs:
        request.outputs.add(name=name)
    response = yield Call(_METHODS["ModelInfer"], request, timeout_s)
    return _outputs(response)


def metadata(model: str, *, version: int = 0) -> Flow[ModelMetadata]:
    """Names, datatypes and shapes of a served model's inputs and outputs."""
    request = pb.ModelMetadataRequest(name=model, version=_wire_version(version))
    response = yield Call(_METHODS["ModelMetadata"], request, is_memorable=True)
    return ModelMetadata(
        name=response.name,
        versions=tuple(response.versions),
        platform=response.platform,
        inputs=tuple(TensorInfo(t.name, t.datatype, tuple(t.shape)) for t in response.inputs),
        outputs=tuple(TensorInfo(t.name, t.datatype, tuple(t.shape)) for t in response.outputs),
    )


@dataclass(frozen=True)
class ModelStatistics:
    """What the server has counted of a version since it was loaded.

    `rows` were answered in `requests`, which took `request_s` in all from arrival to answer; the
    model ran `executions` times, for `run_s` in all.
    """

    requests: int
    rows: int
    request_s: float
    executions: int
    run_s: float


def statistics(model: str, *, version: int = 0) -> Flow[ModelStatistics]:
    """The server's own counts of a model, or of one version of it.

    Raises:
        NotFound: it is not served.
    """
    request = pb.ModelStatisticsRequest(name=model, version=_wire_version(version))
    response = yield Call(_METHODS["ModelStatistics"], request)
    told = response.model_stats[-1]  # without a version all of them, ascending
    return ModelStatistics(
        requests=told.inference_stats.success.count,
        rows=told.inference_count,
        request_s=told.inference_stats.success.ns / 1e9,
        executions=told.execution_count,
        run_s=sum(size.compute_infer.ns for size in told.batch_stats) / 1e9,
    )


def index() -> Flow[list[IndexEntry]]:
    """Every version the inference service knows, served or not, and why not."""
    response = yield Call(_METHODS["RepositoryIndex"], pb.RepositoryIndexRequest())
    return [
        IndexEntry(m.name, int(m.version) if m.version.isdecimal() else 0, m.state, m.reason)
        for m in response.models
    ]


def is_model_ready(model: str, *, version: int = 0) -> Flow[bool]:
    """Whether a model, or one version of it, answers requests now."""
    request = pb.ModelReadyRequest(name=model, version=_wire_version(version))
    try:
        response = yield Call(_METHODS["ModelReady"], request)
    except NotFound:
        return False
    return bool(response.ready)


def wait_until_served(model: str, *, version: int = 0, timeout_s: float = 60.0) -> Flow[None]:
    """Wait until a model, or one version of it, answers requests.

    Raises:
        FailedPrecondition: the server has tried and does not serve it; the message says why.
        DeadlineExceeded: it was not served in time.
    """
    give_up_at = time.monotonic() + timeout_s
    while not (yield from is_model_ready(model, version=version)):
        for entry in (yield from index()):
            if (entry.name, entry.version) == (model, version) and entry.state == "UNAVAILABLE":
                raise FailedPrecondition(
                    f"version {version} of model {model!r} is not served: {entry.reason}"
                )
        if time.monotonic() >= give_up_at:
            raise DeadlineExceeded(
                f"model {model!r} is not served after {timeout_s:g} s; `index` says what is"
            )
        yield Pause(_POLL_S)


def is_server_ready() -> Flow[bool]:
    """Whether the inference service takes requests."""
    response = yield Call(_METHODS["ServerReady"], pb.ServerReadyRequest(), timeout_s=5.0)
    return bool(response.ready)


def _wire_version(version: int) -> str:
    return str(version) if version else ""


def _as_only_input(value: npt.ArrayLike, served: ModelMetadata) -> np.ndarray[Any, Any]:
    if len(served.inputs) != 1:
        names = ", ".join(tensor.name for tensor in served.inputs)
        raise InvalidTensor(
            f"model {served.name!r} takes {len(served.inputs)} inputs ({names}); "
            "got one bare array, want a mapping of arrays by name"
        )
    only = served.inputs[0]
    array = fitted(array_of(value), only.datatype, only.name)
    if tensors.datatype_of(array.dtype) != only.datatype:
        raise InvalidTensor(
            f"input {only.name!r} of model {served.name!r} takes {only.datatype}, "
            f"got an array of {array.dtype}"
        )
    return array


def _outputs(response: pb.ModelInferResponse) -> dict[str, np.ndarray[Any, Any]]:
    if not response.raw_output_contents:
        return {
            out.name: tensors.from_contents(out.contents, out.datatype, out.shape, out.name)
            for out in response.outputs
        }
    if len(response.raw_output_contents) != len(response.outputs):
        raise DataLoss(
            f"the answer describes {len(response.outputs)} outputs "
            f"and carries {len(response.raw_output_contents)}"
        )
    return {
        out.name: tensors.decode(raw, out.datatype, out.shape, out.name)
        for out, raw in zip(response.outputs, response.raw_output_contents, strict=True)
    }
