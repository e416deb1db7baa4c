"""Texts from a served language model, token by token: any server with vLLM's tensors will do."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

import numpy as np

from wintergarden.client.call import Flow
from wintergarden.client.inference import metadata
from wintergarden.errors import InvalidArgument, NotFound, Unsupported
from wintergarden.wire import open_inference_pb2 as pb
from wintergarden.wire import tensors
from wintergarden.wire.pool import methods

STREAM = methods("inference.GRPCInferenceService")["ModelStreamInfer"]
# Errors end the stream with their own status, and so with their own type here.
METADATA = (("triton_grpc_error", "true"),)

_TEXT, _PROMPT = "text_input", "prompt"
_STEPS = ".step"


class SamplingOptions(TypedDict, total=False):
    """How a text is written; what is left out is the server's to choose.

    `max_tokens`: at most so many. `temperature`: 0 takes the most probable token always.
    `top_k`: choose among so many; 0: all. `top_p`: among the most probable that have so much of
    the probability together. `seed`: the same one gives the same text. `stop`: texts at which it
    ends, and which are not part of it.
    """

    max_tokens: int
    temperature: float
    top_k: int
    top_p: float
    seed: int
    stop: str | Sequence[str]


@dataclass(frozen=True)
class Piece:
    """What one more token adds to a text.

    Attributes:
        text: may be empty: of half a character, or while it may be the beginning of a stop.
        token: its id; None from a server that does not tell.
        log_probability: of the token, by the model; likewise.
        finish_reason: of the last one: "stop" or "length"; else empty.
    """

    text: str
    token: int | None
    log_probability: float | None
    finish_reason: str


def writer(model: str, *, version: int = 0) -> Flow[str]:
    """The name under which a model writes texts: its own, or that of its family's step graph.

    Raises:
        NotFound: no such model or version.
        Unsupported: neither writes texts.
    """
    own = yield from metadata(model, version=version)
    if any(tensor.name == _TEXT for tensor in own.inputs):
        return model
    try:
        steps = yield from metadata(model + _STEPS, version=version)
    except NotFound:
        steps = None
    if steps is not None and any(tensor.name == _TEXT for tensor in steps.inputs):
        return model + _STEPS
    inputs = ", ".join(tensor.name for tensor in own.inputs)
    raise Unsupported(
        f"model {model!r} writes no texts: it takes {inputs}, and there is no {model + _STEPS!r} "
        "that does; a language model of ours is trained with, for example, "
        "`wintergarden train lstm python-source`"
    )


def request(
    model: str, prompt: str | Sequence[int], version: int, options: SamplingOptions
) -> pb.ModelInferRequest:
    """The message that asks for a text.

    Raises:
        InvalidArgument: an option that there is not, or a value that is none of its kind.
    """
    asked = pb.ModelInferRequest(
        model_name=model, model_version=str(version) if version else "", id="text"
    )
    if isinstance(prompt, str):
        _add(asked, _TEXT, np.array([prompt.encode()], object))
    else:
        ids = [_whole(_PROMPT, token) for token in prompt]
        _add(asked, _PROMPT, np.array([ids], np.int64))
    for name, value in options.items():
        if name not in SamplingOptions.__annotations__:
            allowed = ", ".join(SamplingOptions.__annotations__)
            raise InvalidArgument(f"no option {name!r}; allowed are {allowed}", field=name)
        if value is not None:
            _add(asked, name, _array(name, value))
    return asked


def read(response: pb.ModelStreamInferResponse) -> Piece:
    """A message of the stream.

    Raises:
        InvalidArgument: the server says in the message that something went wrong.
    """
    if response.error_message:  # of a server that does not know the header
        raise InvalidArgument(response.error_message)
    answer = response.infer_response
    found = {
        output.name: tensors.decode(raw, output.datatype, output.shape, output.name, "output")
        for output, raw in zip(answer.outputs, answer.raw_output_contents, strict=True)
    }
    tokens, log_probabilities = found.get("tokens"), found.get("log_probabilities")
    return Piece(
        text=_text(found.get("text_output")),
        token=None if tokens is None else int(tokens[-1]),
        log_probability=None if log_probabilities is None else float(log_probabilities[-1]),
        finish_reason=_text(found.get("finish_reason")),
    )


def _add(asked: pb.ModelInferRequest, name: str, array: np.ndarray[Any, Any]) -> None:
    asked.inputs.add(name=name, datatype=tensors.datatype_of(array.dtype), shape=array.shape)
    asked.raw_input_contents.append(bytes(tensors.encode(array)))


def _array(name: str, value: Any) -> np.ndarray[Any, Any]:
    if name in {"max_tokens", "top_k", "seed"}:
        return np.array([_whole(name, value)], np.int64)
    try:
        if name == "stop":
            stops = [value] if isinstance(value, str) else value
            return np.array([stop.encode() for stop in stops], object)
        return np.array([value], np.float32)
    except (TypeError, ValueError, OverflowError, AttributeError) as error:
        raise InvalidArgument(f"{name}: {value!r:.80}: {error}", field=name) from error


def _whole(name: str, value: Any) -> int:
    """As INT64 carries it; of a seed the server reads the 64 bits as a number without a sign."""
    try:
        whole = operator.index(value)  # numpy's integers have one, no fraction has
    except TypeError as error:
        raise InvalidArgument(f"{name}: {value!r:.80} is no whole number", field=name) from error
    if isinstance(value, bool):
        raise InvalidArgument(f"{name}: {value} is no whole number", field=name)
    low, end = -(2**63), 2**64 if name == "seed" else 2**63
    if not low <= whole < end:
        raise InvalidArgument(
            f"{name}: a number of {whole.bit_length()} bits; allowed is {low} to {end - 1}",
            field=name,
        )
    return whole - 2**64 if whole >= 2**63 else whole


def _text(array: np.ndarray[Any, Any] | None) -> str:
    if array is None or not array.size:
        return ""
    value = array.reshape(-1)[0]
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
