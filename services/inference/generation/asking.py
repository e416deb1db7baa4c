"""What a client may ask of a generator, and what it is answered: the tensors, and their meaning.

The names are those of vLLM's Triton backend (`text_input`, `stream`, `sampling_parameters`,
`exclude_input_in_output`, `text_output`), so that its clients work here; each of the sampling
parameters may come as an input or a request parameter of its own as well.
https://github.com/triton-inference-server/vllm_backend
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np

from services.inference.generation.sampling import Sampling
from services.inference.scheduling.scheduler import Array
from wintergarden.errors import InvalidArgument
from wintergarden.runtime import TensorSpec

MAX_TOKENS = 65_536
DEFAULT_TOKENS = 128
_MAX_STOPS = 16
_MAX_STOP = 256  # characters
_SEEDS = 2**64

TEXT, PROMPT, STREAM, ECHO, PARAMETERS = (
    "text_input", "prompt", "stream", "exclude_input_in_output", "sampling_parameters",
)  # fmt: skip


def _optional(name: str, datatype: str, size: int = 1) -> TensorSpec:
    return TensorSpec(name, datatype, (size,), is_optional=True)


INPUTS = (
    _optional(TEXT, "BYTES"),
    TensorSpec(PROMPT, "INT64", (1, -1), is_optional=True),
    _optional("max_tokens", "INT64"),
    _optional("temperature", "FP32"),
    _optional("top_k", "INT64"),
    _optional("top_p", "FP32"),
    _optional("seed", "INT64"),
    _optional("stop", "BYTES", -1),
    _optional(PARAMETERS, "BYTES"),
    _optional(STREAM, "BOOL"),
    _optional(ECHO, "BOOL"),
)
OUTPUTS = (
    TensorSpec("text_output", "BYTES", (1,)),
    TensorSpec("tokens", "INT64", (-1,)),
    TensorSpec("log_probabilities", "FP32", (-1,)),
    TensorSpec("finish_reason", "BYTES", (1,)),
)
# What may also come as a parameter of the request, or in `sampling_parameters`.
SAMPLING = ("max_tokens", "temperature", "top_k", "top_p", "seed", "stop")


@dataclass(frozen=True)
class Asked:
    """One text, as it is asked for.

    Attributes:
        text: to go on with; None where `prompt` has its ids.
        prompt: ids to go on with.
        max_tokens: of the answer.
        stops: texts at which it ends, and which are not part of it.
        is_streamed: an answer for each token.
        is_echoed: the answer begins with the text that was given.
    """

    text: str | None
    prompt: tuple[int, ...]
    max_tokens: int
    sampling: Sampling
    stops: tuple[str, ...]
    is_streamed: bool
    is_echoed: bool


def read(feeds: Sequence[Array | None]) -> Asked:
    """What a request asks for.

    Args:
        feeds: of `INPUTS`; None where one is left out.

    Raises:
        InvalidArgument: naming the input, with what was got and what is allowed.
    """
    given = {spec.name: feed for spec, feed in zip(INPUTS, feeds, strict=True) if feed is not None}
    if (TEXT in given) == (PROMPT in given):
        raise _invalid(TEXT, f"give one of {TEXT} and {PROMPT}, got {'both' if given else 'none'}")
    values = {name: feed[0] for name, feed in given.items() if name in SAMPLING and name != "stop"}
    if "stop" in given:
        values["stop"] = [_text("stop", each) for each in given["stop"]]
    for name, value in _more(given.get(PARAMETERS)).items():
        if name in values:
            raise _invalid(name, f"given twice, as an input and in {PARAMETERS}")
        values[name] = value
    unknown = sorted(set(values) - set(SAMPLING))
    if unknown:
        raise _invalid(PARAMETERS, f"unknown: {unknown[0]!r:.80}; known are {', '.join(SAMPLING)}")
    top_k = _whole(values, "top_k", 0, -1, 2**31)
    return Asked(
        text=_text(TEXT, given[TEXT][0]) if TEXT in given else None,
        prompt=tuple(given[PROMPT][0].tolist()) if PROMPT in given else (),
        max_tokens=_whole(values, "max_tokens", DEFAULT_TOKENS, 1, MAX_TOKENS),
        sampling=Sampling(
            temperature=_number(values, "temperature", 1.0, lambda x: 0 <= x < math.inf, "≥ 0"),
            top_k=max(0, top_k),  # vLLM writes -1 for all
            top_p=_number(values, "top_p", 1.0, lambda x: 0 < x <= 1, "above 0 and at most 1"),
            seed=(
                None
                if values.get("seed") is None
                else _whole(values, "seed", 0, -(2**63), _SEEDS - 1) % _SEEDS
            ),
        ),
        stops=_stops(values.get("stop")),
        is_streamed=STREAM in given and bool(given[STREAM][0]),
        is_echoed=ECHO in given and not given[ECHO][0],
    )


def _more(feed: Array | None) -> Mapping[str, Any]:
    if feed is None:
        return {}
    try:
        values = json.loads(_text(PARAMETERS, feed[0]) or "{}")
        if not isinstance(values, dict):
            raise ValueError("it is no object")
    except (ValueError, RecursionError) as error:
        raise _invalid(PARAMETERS, f"not JSON: {error}") from error
    return {name: _plain(name, value) for name, value in values.items()}


def _plain(name: str, value: Any) -> Any:
    """As a number where it is one in a text, which is how vLLM's clients write them."""
    if not isinstance(value, str) or name == "stop":
        return value
    for make in (int, float):
        with suppress(ValueError):
            return make(value)
    return value


def _stops(value: Any) -> tuple[str, ...]:
    stops = [value] if isinstance(value, str) else [] if value is None else value
    if not isinstance(stops, list) or not all(isinstance(stop, str) for stop in stops):
        raise _invalid("stop", f"{value!r:.80}; needed is a text, or a list of them")
    if len(stops) > _MAX_STOPS or not all(0 < len(stop) <= _MAX_STOP for stop in stops):
        raise _invalid(
            "stop", f"allowed are {_MAX_STOPS} texts of 1 to {_MAX_STOP} characters each"
        )
    return tuple(stops)


def _whole(values: Mapping[str, Any], name: str, default: int, low: int, high: int) -> int:
    value = values.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise _invalid(name, f"{value!r:.80} is no whole number")
    if not low <= value <= high:
        raise _invalid(name, f"{value}; allowed is {low} to {high}")
    return int(value)


def _number(
    values: Mapping[str, Any],
    name: str,
    default: float,
    is_allowed: Callable[[float], bool],
    allowed: str,
) -> float:
    value = values.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float | np.floating):
        raise _invalid(name, f"{value!r:.80} is no number")
    try:
        number = float(value)
    except OverflowError:  # a whole number of more digits than a float has
        number = math.inf
    if not is_allowed(number):
        raise _invalid(name, f"{number:g}; allowed is {allowed}")
    return number


def _text(name: str, value: Any) -> str:
    try:
        return value.decode() if isinstance(value, bytes) else str(value)
    except UnicodeDecodeError as error:
        raise _invalid(name, f"not UTF-8: {error}") from error


def _invalid(name: str, problem: str) -> InvalidArgument:
    return InvalidArgument(f"{name}: {problem}", field=f"inputs.{name}")
