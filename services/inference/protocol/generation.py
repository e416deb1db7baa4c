"""Requests for texts: as other ModelInfer requests, with sampling parameters in three places."""

from __future__ import annotations

import numpy as np

from services.inference.generation.asking import (
    ECHO,
    INPUTS,
    SAMPLING,
    STREAM,
    TEXT,
)
from services.inference.protocol import codec
from services.inference.protocol.asked import Asked
from services.inference.protocol.shared_memory import Regions
from services.inference.scheduling.scheduler import Array
from services.inference.signature import Signature
from wintergarden.errors import InvalidArgument
from wintergarden.wire import open_inference_pb2 as pb

_POSITIONS = {spec.name: i for i, spec in enumerate(INPUTS)}
_KINDS = {
    "BYTES": ("string_param",),
    "INT64": ("int64_param",),
    "FP32": ("double_param", "int64_param"),
}


def asks_for_text(request: pb.ModelInferRequest) -> bool:
    """Whether a request to a step graph wants a text, and not a step."""
    return any(tensor.name in _POSITIONS for tensor in request.inputs)


def read_generation(
    request: pb.ModelInferRequest,
    signature: Signature,
    regions: Regions | None,
    *,
    on_stream: bool,
) -> Asked:
    """What is asked of a generator; its feeds are those of `asking.INPUTS`.

    Args:
        request: the message.
        signature: the generator's.
        regions: registered shared memory; None where there is none to be had.
        on_stream: there may be an answer for each token, and there is unless `stream` says no.

    Raises:
        InvalidArgument: as `codec.read`; a parameter is of a wrong type, or given as an input
            too; an answer for each token of a call that has one answer; a stream that is to
            repeat its prompt; a sequence.
        NotFound: no shared memory of that name is registered.
        Unsupported: shared memory is off.
    """
    asked = codec.read(request, signature, regions)
    if asked.sequence is not None:
        raise _invalid("sequence_id", f"a text is no sequence; leave it out, or give no {TEXT}")
    for name in SAMPLING:
        if name in request.parameters:
            if asked.feeds[_POSITIONS[name]] is not None:
                raise _invalid(name, "given as an input and as a parameter; use one of them")
            asked.feeds[_POSITIONS[name]] = _feed(name, request.parameters[name])
    stream = asked.feeds[_POSITIONS[STREAM]]
    wants_stream = on_stream if stream is None else bool(stream[0])
    if wants_stream and not on_stream:
        raise InvalidArgument(
            f"{signature.label}: {STREAM}: a ModelInfer has one answer; use ModelStreamInfer, or "
            "leave it out",
            field=f"inputs.{STREAM}",
        )
    excludes = asked.feeds[_POSITIONS[ECHO]]
    if wants_stream and excludes is not None and not excludes[0]:
        raise InvalidArgument(
            f"{signature.label}: {ECHO}: a stream tells what is new alone; leave it out, or set "
            f"{STREAM} to false",
            field=f"inputs.{ECHO}",
        )
    asked.feeds[_POSITIONS[STREAM]] = np.array([wants_stream])
    return asked


def _feed(name: str, parameter: pb.InferParameter) -> Array:
    datatype = INPUTS[_POSITIONS[name]].datatype
    choice = parameter.WhichOneof("parameter_choice")
    if choice not in _KINDS[datatype]:
        raise _invalid(name, f"{choice or 'no value'}, needed is {' or '.join(_KINDS[datatype])}")
    value = getattr(parameter, choice)
    if datatype == "BYTES":
        return np.array([value.encode()], object)
    if datatype == "INT64":
        return np.array([value], np.int64)
    return np.array([value], np.float64)  # as it was given


def _invalid(name: str, problem: str) -> InvalidArgument:
    return InvalidArgument(f"parameter {name!r}: {problem}", field=f"parameters.{name}")
