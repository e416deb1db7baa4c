from __future__ import annotations

import struct

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from wintergarden.errors import InvalidTensor
from wintergarden.wire import open_inference_pb2 as pb
from wintergarden.wire import tensor_pb2, tensors

NUMERIC = [name for name in tensors.DATATYPES if name != "BYTES"]
EVERY = [*tensors.DATATYPES, "BF16"]


def arrays() -> st.SearchStrategy[np.ndarray]:
    return st.sampled_from(NUMERIC).flatmap(
        lambda name: hnp.arrays(
            tensors.DATATYPES[name], hnp.array_shapes(min_dims=0, max_dims=4, min_side=0)
        )
    )


@given(arrays())
def test_numbers_survive_the_wire_bit_for_bit(array: np.ndarray) -> None:
    datatype = tensors.datatype_of(array.dtype)
    back = tensors.decode(tensors.encode(array), datatype, array.shape, "x")
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    assert back.tobytes() == array.tobytes()
    assert not back.flags.writeable


@given(hnp.arrays(object, hnp.array_shapes(min_dims=0, min_side=0), elements=st.binary()))
def test_bytes_survive_the_wire(array: np.ndarray) -> None:
    back = tensors.decode(tensors.encode(array), "BYTES", array.shape, "x")
    assert back.shape == array.shape
    assert back.tolist() == array.tolist()


@given(
    st.binary(max_size=64),
    st.sampled_from([*EVERY, "FP33", ""]),
    st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-2, 4), max_size=70),
)
def test_hostile_bytes_meet_invalid_tensor_and_nothing_else(
    raw: bytes, datatype: str, shape: list[int]
) -> None:
    try:
        array = tensors.decode(raw, datatype, shape, "x")
    except InvalidTensor as error:
        assert error.message.startswith("input 'x': ")
    else:
        assert list(array.shape) == shape
        assert tensors.encode(array) == raw


@given(
    st.builds(
        pb.InferTensorContents,
        bool_contents=st.lists(st.booleans(), max_size=2),
        int_contents=st.lists(st.integers(-(2**31), 2**31 - 1), max_size=2),
        uint_contents=st.lists(st.integers(0, 2**32 - 1), max_size=2),
        fp32_contents=st.lists(st.floats(width=32), max_size=2),
        bytes_contents=st.lists(st.binary(), max_size=2),
    ),
    st.sampled_from(EVERY),
    st.lists(st.integers(-2, 3), max_size=3),
)
def test_hostile_contents_meet_invalid_tensor_and_nothing_else(
    contents: pb.InferTensorContents, datatype: str, shape: list[int]
) -> None:
    try:
        array = tensors.from_contents(contents, datatype, shape, "x")
    except InvalidTensor:
        return
    assert list(array.shape) == shape
    assert array.dtype == tensors.DATATYPES[datatype]


def test_decoding_copies_nothing() -> None:
    raw = np.arange(6, dtype=np.float32).tobytes()
    array = tensors.decode(raw, "FP32", [2, 3])
    assert np.shares_memory(array, np.frombuffer(raw, np.float32))


def test_a_view_of_a_writable_buffer_is_read_only() -> None:
    assert not tensors.decode(memoryview(bytearray(4)), "FP32", [1]).flags.writeable


@pytest.mark.parametrize(
    ("raw", "datatype", "shape", "message"),
    [
        (b"1", "FP32", [2], "input 'x': shape [2] of FP32 needs 8 bytes, got 1"),
        (b"", "FP32", [], "input 'x': shape [] of FP32 needs 4 bytes, got 0"),
        (b"", "FP32", [-1], "input 'x': shape [-1] has a negative dimension"),
        (b"1234", "FP32", [-1, -1], "input 'x': shape [-1, -1] has a negative dimension"),
        (b"", "FP32", [0, -1], "input 'x': shape [0, -1] has a negative dimension"),
        (b"", "FP64", [2**62, 2**62], f"input 'x': shape [{2**62}, {2**62}] is larger than any"),
        (b"", "FP64", [0, 2**62], f"input 'x': shape [0, {2**62}] is larger than any memory"),
        (b"1", "UINT8", [1] * 65, "input 'x': 65 dimensions; at most 64 are allowed"),
        (b"\x02", "BOOL", [1], "input 'x': a BOOL byte must be 0 or 1"),
        (b"", "BYTES", [2**40], f"shape [{2**40}] of BYTES needs at least {2**42} bytes, got 0"),
        (b"\xff\xff\xff\xffab", "BYTES", [1], "element 0 of BYTES says 4294967295 bytes, 2 are"),
        (b"\x04\0\0\0abcd\x01\0", "BYTES", [2], "BYTES end before the length of element 1"),
        (b"\0\0\0\0\0", "BYTES", [1], "shape [1] of BYTES ends after 4 bytes, got 5"),
        (b"", "float32", [0], "datatype 'float32' is unknown; allowed are BOOL, INT8,"),
    ],
)
def test_refusals_say_what_was_got_and_what_is_needed(
    raw: bytes, datatype: str, shape: list[int], message: str
) -> None:
    with pytest.raises(InvalidTensor) as caught:
        tensors.decode(raw, datatype, shape, "x")
    assert message in caught.value.message
    assert caught.value.field == "inputs.x"


@pytest.mark.parametrize(
    ("contents", "datatype", "shape", "message"),
    [
        ({"fp32_contents": [1.0]}, "FP32", [2], "needs 2 values in fp32_contents, got 1"),
        ({"fp32_contents": [1.0]}, "FP64", [1], "FP64 belongs in fp64_contents, got fp32_contents"),
        ({"int_contents": [300]}, "INT8", [1], "INT8 holds -128 to 127, got 300 to 300"),
        ({"fp32_contents": [1.0]}, "FP16", [1], "FP16 travels in raw contents only"),
        ({}, "FP32", [-1], "has a negative dimension"),
    ],
)
def test_contents_are_counted_and_bounded(
    contents: dict[str, list[float]], datatype: str, shape: list[int], message: str
) -> None:
    with pytest.raises(InvalidTensor) as caught:
        tensors.from_contents(pb.InferTensorContents(**contents), datatype, shape, "x")  # type: ignore[arg-type]
    assert message in caught.value.message


@pytest.mark.parametrize(
    ("contents", "datatype", "expected"),
    [
        ({"bool_contents": [True, False]}, "BOOL", [True, False]),
        ({"int_contents": [-128, 127]}, "INT8", [-128, 127]),
        ({"uint_contents": [0, 2**32 - 1]}, "UINT32", [0, 2**32 - 1]),
        ({"uint64_contents": [0, 2**64 - 1]}, "UINT64", [0, 2**64 - 1]),
        ({"int64_contents": [-(2**63), 2**63 - 1]}, "INT64", [-(2**63), 2**63 - 1]),
        ({"fp64_contents": [0.5, 1e300]}, "FP64", [0.5, 1e300]),
        ({"bytes_contents": [b"", b"\xff"]}, "BYTES", [b"", b"\xff"]),
    ],
)
def test_contents_of_every_field(
    contents: dict[str, list[object]], datatype: str, expected: list[object]
) -> None:
    array = tensors.from_contents(pb.InferTensorContents(**contents), datatype, [2], "x")  # type: ignore[arg-type]
    assert array.tolist() == expected
    assert array.dtype == tensors.DATATYPES[datatype]


def test_bfloat16_travels_raw() -> None:
    array = np.array([1.5, -2.0], ml_dtypes.bfloat16)
    assert tensors.datatype_of(array.dtype) == "BF16"
    back = tensors.decode(tensors.encode(array), "BF16", [2])
    assert back.dtype == array.dtype
    assert back.tolist() == [1.5, -2.0]


@pytest.mark.parametrize("datatype", EVERY)
def test_nothing_has_typed_contents_of_every_datatype(datatype: str) -> None:
    array = tensors.from_contents(pb.InferTensorContents(), datatype, [0, 3], "x")
    assert array.shape == (0, 3)
    assert tensors.datatype_of(array.dtype) == datatype
    with pytest.raises(InvalidTensor, match="negative dimension"):
        tensors.from_contents(pb.InferTensorContents(), datatype, [0, -1], "x")


def test_any_layout_is_sent_row_major_little_endian() -> None:
    array = np.arange(6, dtype=">i4").reshape(2, 3).T
    assert tensors.datatype_of(array.dtype) == "INT32"
    assert tensors.encode(array) == struct.pack("<6i", 0, 3, 1, 4, 2, 5)


@pytest.mark.parametrize(
    "array", [np.array(["é", "b"]), np.array(["é", "b"], object), np.array([b"\xc3\xa9", b"b"])]
)
def test_text_is_sent_as_utf8(array: np.ndarray) -> None:
    back = tensors.decode(tensors.encode(array), tensors.datatype_of(array.dtype), [2])
    assert back.tolist() == ["é".encode(), b"b"]


def test_what_has_no_datatype_is_refused() -> None:
    with pytest.raises(InvalidTensor, match="complex128 has no datatype"):
        tensors.encode(np.zeros(1, complex))
    with pytest.raises(InvalidTensor, match="must be bytes or text, got int"):
        tensors.encode(np.array([1], object))


def test_messages_of_our_own_services() -> None:
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    message = tensor_pb2.Tensor.FromString(tensors.to_message("x", array).SerializeToString())
    assert message.name == "x"
    assert np.array_equal(tensors.from_message(message), array)
    message.shape[:] = [7]
    with pytest.raises(
        InvalidTensor, match=r"tensor 'x': shape \[7\] of FP32 needs 28 bytes, got 24"
    ):
        tensors.from_message(message)
