"""What is asked of a model that writes travels as it was given, or is refused by its name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from wintergarden.client.generation import request
from wintergarden.errors import InvalidArgument


def sent(prompt: Any = "a", **options: Any) -> dict[str, list[int]]:
    """The whole numbers of the message."""
    asked = request("m", prompt, 0, options)  # type: ignore[arg-type]
    return {
        tensor.name: np.frombuffer(raw, np.int64).tolist()
        for tensor, raw in zip(asked.inputs, asked.raw_input_contents, strict=True)
        if tensor.datatype == "INT64"
    }


@pytest.mark.parametrize("name", ["max_tokens", "top_k", "seed"])
@pytest.mark.parametrize("value", [5, np.int32(5), np.uint64(5), np.array(5)])
def test_whole_numbers_are_sent(name: str, value: Any) -> None:
    assert sent(**{name: value}) == {name: [5]}


@pytest.mark.parametrize("prompt", [[1, 2], (1, np.int32(2)), np.array([1, 2], np.uint8)])
def test_ids_are_sent(prompt: Any) -> None:
    assert sent(prompt) == {"prompt": [1, 2]}
    assert sent(prompt[:0]) == {"prompt": []}


@pytest.mark.parametrize("name", ["max_tokens", "top_k", "seed", "prompt"])
@pytest.mark.parametrize(
    "value",
    [
        3.9,
        3.0,
        np.float32(1),
        True,
        np.True_,
        "5",
        "a",
        [1],
        2**70,
        -(2**70),
        pytest.param(10**5000, id="long"),
    ],
)
def test_nothing_else_is(name: str, value: Any) -> None:
    with pytest.raises(InvalidArgument, match=name) as caught:
        sent([value]) if name == "prompt" else sent(**{name: value})
    assert caught.value.field == name


@pytest.mark.parametrize("name", ["max_tokens", "top_k"])
def test_only_a_seed_may_have_all_64_bits(name: str) -> None:
    with pytest.raises(InvalidArgument, match="a number of 64 bits"):
        sent(**{name: 2**63})
    with pytest.raises(
        InvalidArgument, match="allowed is -9223372036854775808 to 1844674407370955"
    ):
        sent(seed=2**64)


@pytest.mark.parametrize("seed", [0, -1, -(2**63), 2**63 - 1, 2**63, 2**64 - 1])
def test_a_seed_is_the_same_64_bits(seed: int) -> None:
    """The server takes it modulo 2⁶⁴."""
    assert sent(seed=seed)["seed"][0] % 2**64 == seed % 2**64
