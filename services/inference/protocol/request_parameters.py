"""The parameters of a request and of its tensors, as Triton reads them from gRPC.

A parameter of the wrong type is refused. Names that nobody knows are the model's own, and an
ONNX model has no use for them; those that begin with `triton_` are reserved.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from services.inference.scheduling.scheduler import SequenceControl
from wintergarden.errors import InvalidArgument
from wintergarden.wire import open_inference_pb2 as pb

Parameters = Mapping[str, pb.InferParameter]

_EMPTY_FINAL = "triton_enable_empty_final_response"
_MAX_SEQUENCE_ID = 128  # characters
_CUSTOM = ("bool_param", "int64_param", "string_param", "double_param")
_REGION, _BYTE_SIZE, _OFFSET = (
    "shared_memory_region",
    "shared_memory_byte_size",
    "shared_memory_offset",
)


class RequestOptions(NamedTuple):
    """See `scheduling.Request`; `wants_empty_final` is for decoupled models on a stream."""

    priority: int = 0
    timeout_us: int = 0
    sequence: SequenceControl | None = None
    wants_empty_final: bool = False


class Place(NamedTuple):
    """Where in shared memory a tensor lies."""

    region: str
    byte_size: int
    offset: int


DEFAULTS = RequestOptions()


def read_options(parameters: Parameters) -> RequestOptions:
    """What a request asks for beside its tensors.

    Raises:
        InvalidArgument: a parameter has another type than it needs, or its name is reserved.
    """
    priority = timeout_us = 0
    sequence_id: int | str = 0
    is_start = is_end = wants_empty_final = False
    for name, parameter in parameters.items():
        match name:
            case "sequence_id":
                sequence_id = _sequence_id(_value(name, parameter, "int64_param", "string_param"))
            case "sequence_start":
                is_start = bool(_value(name, parameter, "bool_param"))
            case "sequence_end":
                is_end = bool(_value(name, parameter, "bool_param"))
            case "priority":  # tritonclient sends uint64_param
                priority = _count(name, _value(name, parameter, "int64_param", "uint64_param"))
            case "timeout":
                timeout_us = _count(name, _value(name, parameter, "int64_param"))
            case "triton_enable_empty_final_response":
                wants_empty_final = bool(_value(name, parameter, "bool_param"))
            case _ if name.startswith("triton_"):
                raise _invalid(
                    name, f"'triton_' is reserved; of such names {_EMPTY_FINAL} is known"
                )
            case _:
                _value(name, parameter, *_CUSTOM)
    sequence = SequenceControl(sequence_id, is_start, is_end) if sequence_id else None
    return RequestOptions(priority, timeout_us, sequence, wants_empty_final)


def read_sequence(parameters: Parameters) -> SequenceControl | None:
    """Where a request stands in its sequence; None where it stands alone.

    Raises:
        InvalidArgument: as `read_options`.
    """
    return read_options(parameters).sequence if "sequence_id" in parameters else None


def read_place(parameters: Parameters) -> Place | None:
    """Where in shared memory a tensor lies; None when it travels in the message.

    Raises:
        InvalidArgument: the three parameters that say so are incomplete or of a wrong type.
    """
    if _REGION not in parameters:
        for name in (_BYTE_SIZE, _OFFSET):
            if name in parameters:
                raise _invalid(name, f"needs {_REGION} beside it")
        return None
    if _BYTE_SIZE not in parameters:
        raise _invalid(_REGION, f"needs {_BYTE_SIZE} beside it")
    region = str(_value(_REGION, parameters[_REGION], "string_param"))
    byte_size = _count(_BYTE_SIZE, _value(_BYTE_SIZE, parameters[_BYTE_SIZE], "int64_param"))
    offset = 0
    if _OFFSET in parameters:
        offset = _count(_OFFSET, _value(_OFFSET, parameters[_OFFSET], "int64_param"))
    return Place(region, byte_size, offset)


def read_classes(parameters: Parameters) -> int:
    """How many classes the classification extension shall name; 0 when it is not asked for.

    Raises:
        InvalidArgument: the number is not positive, or no number.
    """
    name = "classification"
    if name not in parameters:
        return 0
    count = _count(name, _value(name, parameters[name], "int64_param"))
    if count == 0:
        raise _invalid(name, "0 classes asked for; at least 1 is needed")
    return count


def write_place(parameters: Parameters, place: Place) -> None:
    """Says where in shared memory an output lies."""
    parameters[_REGION].string_param = place.region
    parameters[_BYTE_SIZE].int64_param = place.byte_size
    if place.offset:
        parameters[_OFFSET].int64_param = place.offset


def write_options(parameters: Parameters, values: Mapping[str, bool | int | float | str]) -> None:
    """Parameters of an answer."""
    for name, value in values.items():
        match value:
            case bool():
                parameters[name].bool_param = value
            case int():
                parameters[name].int64_param = value
            case float():
                parameters[name].double_param = value
            case str():
                parameters[name].string_param = value


def _value(name: str, parameter: pb.InferParameter, *allowed: str) -> bool | int | str | float:
    choice = parameter.WhichOneof("parameter_choice")
    if choice not in allowed:
        raise _invalid(name, f"{choice or 'no value'}, needed is {' or '.join(allowed)}")
    value: bool | int | str | float = getattr(parameter, choice)
    return value


def _count(name: str, value: bool | int | str | float) -> int:
    if not isinstance(value, int) or value < 0:
        raise _invalid(name, f"{value}; at least 0 is needed")
    return value


def _sequence_id(value: bool | int | str | float) -> int | str:
    if isinstance(value, str):
        if len(value) > _MAX_SEQUENCE_ID:
            raise _invalid(
                "sequence_id", f"{len(value)} characters; at most {_MAX_SEQUENCE_ID} are allowed"
            )
        return value
    return int(value) & (2**64 - 1)  # an unsigned number in a signed field


def _invalid(name: str, problem: str) -> InvalidArgument:
    return InvalidArgument(f"parameter {name!r:.200}: {problem}", field=f"parameters.{name:.200}")
