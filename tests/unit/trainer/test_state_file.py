from __future__ import annotations

import json
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.state_file import pack, unpack
from wintergarden.errors import DataLoss

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
)
KEYS = st.integers(0, 9) | st.text(max_size=5)
TREES = st.dictionaries(
    KEYS,
    st.recursive(
        SCALARS,
        lambda below: (
            st.lists(below, max_size=3)
            | st.tuples(below, below)
            | st.dictionaries(KEYS, below, max_size=3)
        ),
        max_leaves=12,
    ),
    max_size=4,
)

STATE = {
    "network": {"a.b": torch.rand(3, 2), "a": {"b": torch.rand(3)}},
    "optimizer": {
        "state": {0: {"step": torch.tensor(7.0), "flag": torch.tensor([True, False])}},
        "betas": (0.9, 0.999),
    },
    "loss": torch.tensor(1 / 3, dtype=torch.float64),
    "best": float("inf"),
    "none": None,
}


def equal(one: Any, other: Any) -> bool:
    """Also in their types: 1 is not 1.0 and not True."""
    if type(one) is not type(other):
        return False
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(equal(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(equal, one, other))
    return bool(one == other)


def test_a_state_comes_back() -> None:
    metadata, state = unpack(pack(STATE, {"who": "me"}))
    assert metadata == {"who": "me"}
    assert equal(state, STATE)


@given(TREES)
@settings(deadline=None)
def test_any_tree_of_plain_values_comes_back(tree: dict[Any, Any]) -> None:
    assert equal(unpack(pack(tree))[1], tree)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64, torch.uint8])
def test_every_datatype_comes_back(dtype: torch.dtype) -> None:
    tensor = torch.arange(6).to(dtype).reshape(2, 3).T  # not contiguous
    assert equal(unpack(pack({"x": tensor, "none": torch.empty(0, 4)}))[1]["x"], tensor)


def test_tensors_that_share_memory_come_back_apart() -> None:
    weight = torch.rand(4)
    state = unpack(pack({"tied": [weight, weight[:2]]}))[1]
    state["tied"][0].zero_()
    assert torch.equal(state["tied"][1], weight[:2])


def test_others_can_read_it() -> None:
    tensors = safetensors.torch.load(pack(STATE))
    assert set(tensors) >= {"network.a.b", "optimizer.state.0.step", "loss"}


@pytest.mark.parametrize("length", [0, 4, 8, 30, 400, -1])
def test_a_truncated_file_is_refused(length: int) -> None:
    with pytest.raises(DataLoss, match=r"no whole state file|wrong sha256"):
        unpack(pack(STATE)[:length])


@given(st.data())
@settings(deadline=None, max_examples=200)
def test_any_flipped_bit_is_found(data: st.DataObject) -> None:
    content = bytearray(pack(STATE))
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(DataLoss):
        unpack(bytes(content))


def test_another_file_is_refused() -> None:
    with pytest.raises(DataLoss, match="no whole state file: KeyError"):
        unpack(safetensors.torch.save({"x": torch.zeros(2)}, {"made": "elsewhere"}))
    with pytest.raises(DataLoss, match="no whole state file"):
        unpack(json.dumps({"a": 1}).encode())


def test_what_no_state_holds_is_refused() -> None:
    with pytest.raises(TypeError, match=r"cannot hold optimizer\.hook: builtin_function"):
        pack({"optimizer": {"hook": print}})
