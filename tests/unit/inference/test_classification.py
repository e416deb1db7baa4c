from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from services.inference.protocol import codec, responses
from services.inference.protocol.classification import classify
from services.inference.signature import Signature
from wintergarden.errors import InvalidArgument
from wintergarden.runtime import TensorSpec
from wintergarden.wire import open_inference_pb2 as pb
from wintergarden.wire import tensors

FRUIT = ("orange", "pickle", "apple")


def test_tritons_own_example() -> None:
    scores = np.array([1, 5, 10, 4])
    assert classify(scores, 2, (), has_rows=False).tolist() == ["10:2", "5:1"]
    assert classify(scores, 3, FRUIT, has_rows=False).tolist() == [
        "10:2:apple",
        "5:1:pickle",
        "4:3",
    ]


def test_each_row_is_classified_by_itself() -> None:
    scores = np.array([[0.1, 0.7], [0.6, 0.4], [0.5, 0.5]], np.float32)
    assert classify(scores, 1, FRUIT, has_rows=True).tolist() == [
        ["0.700000:1:pickle"],
        ["0.600000:0:orange"],
        ["0.500000:0:orange"],
    ]


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float64, np.uint8, np.int8])
def test_every_number_has_an_order(dtype: type) -> None:
    scores = np.array([1, 3, 2], dtype)
    assert [text.split(":")[1] for text in classify(scores, 9, (), has_rows=False)] == list("120")


def test_what_is_no_number_comes_last() -> None:
    scores = np.array([np.nan, -np.inf, np.inf, 0], np.float32)
    named = classify(scores, 4, (), has_rows=False)
    assert named.tolist() == ["inf:2", "0.000000:3", "nan:0", "-inf:1"]


@pytest.mark.parametrize(
    ("shape", "has_rows", "named"),
    [((0, 3), True, (0, 2)), ((2, 0), True, (2, 0)), ((), True, (1,)), ((2, 2, 3), True, (2, 2))],
)
def test_shapes(shape: tuple[int, ...], has_rows: bool, named: tuple[int, ...]) -> None:
    assert classify(np.zeros(shape, np.float32), 2, (), has_rows=has_rows).shape == named


@given(
    hnp.arrays(np.int16, hnp.array_shapes(min_dims=2, max_dims=2, max_side=8)), st.integers(1, 9)
)
def test_the_largest_come_first_and_of_equals_the_first(scores: np.ndarray, count: int) -> None:
    for row, named in zip(scores, classify(scores, count, (), has_rows=True), strict=True):
        order = sorted(range(len(row)), key=lambda i: (-int(row[i]), i))[:count]
        assert named.tolist() == [f"{row[i]}:{i}" for i in order]


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        (np.array(["a"], object), "an output of BYTES has no largest elements"),
        (np.array([True]), "an output of BOOL has no largest elements"),
        (np.zeros(1_000_001, np.uint8), "1000001 elements in a row, at most 1000000"),
    ],
)
def test_what_cannot_be_classified(scores: np.ndarray, message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        classify(scores, 1, (), has_rows=False)
    assert message in caught.value.message


def test_a_request_gets_classes_beside_numbers() -> None:
    signature = Signature(
        "m",
        "1",
        inputs=(TensorSpec("x", "FP32", (-1, 1)),),
        outputs=(TensorSpec("scores", "FP32", (-1, 3)), TensorSpec("y", "FP32", (-1, 1))),
        is_rowwise=True,
        labels={"scores": FRUIT},
    )
    request = pb.ModelInferRequest()
    request.inputs.add(name="x", datatype="FP32", shape=[2, 1])
    request.raw_input_contents.append(bytes(8))
    request.outputs.add(name="y")
    request.outputs.add(name="scores").parameters["classification"].int64_param = 2
    asked = codec.read(request, signature)
    scores = np.array([[1, 2, 3], [6, 5, 4]], np.float32)
    answer = pb.ModelInferResponse.FromString(
        responses.ResponseWriter(signature).write("", asked, [scores, scores[:, :1]])
    )
    y, classes = answer.outputs
    assert (y.datatype, classes.datatype, list(classes.shape)) == ("FP32", "BYTES", [2, 2])
    assert tensors.decode(answer.raw_output_contents[1], "BYTES", [2, 2]).tolist() == [
        [b"3.000000:2:apple", b"2.000000:1:pickle"],
        [b"6.000000:0:orange", b"5.000000:1:pickle"],
    ]
    for count in (0, -1):
        request.outputs[1].parameters["classification"].int64_param = count
        with pytest.raises(InvalidArgument, match="at least"):
            codec.read(request, signature)
