import numpy as np
import pytest

from services.inference import codec
from services.inference.signature import Signature
from wintergarden.errors import InvalidArgument, InvalidTensor, Unsupported
from wintergarden.runtime import TensorSpec
from wintergarden.wire import open_inference_pb2 as pb

SIGNATURE = Signature(
    "mixed",
    "3",
    inputs=(TensorSpec("image", "FP32", (-1, 2, 2)), TensorSpec("age", "INT64", (-1, 1))),
    outputs=(TensorSpec("logits", "FP32", (-1, 3)), TensorSpec("label", "INT64", (-1,))),
    is_rowwise=True,
)
IMAGE = np.arange(8, dtype=np.float32).reshape(2, 2, 2)
AGE = np.array([[7], [8]])


def raw_request(**changes):
    request = pb.ModelInferRequest(model_name="mixed", id="x")
    request.inputs.add(name="image", datatype="FP32", shape=IMAGE.shape)
    request.inputs.add(name="age", datatype="INT64", shape=AGE.shape)
    request.raw_input_contents.extend([IMAGE.tobytes(), AGE.tobytes()])
    return request


def test_raw_inputs_in_any_order_become_feeds_in_the_models_order():
    request = pb.ModelInferRequest()
    request.inputs.add(name="age", datatype="INT64", shape=AGE.shape)
    request.inputs.add(name="image", datatype="FP32", shape=IMAGE.shape)
    request.raw_input_contents.extend([AGE.tobytes(), IMAGE.tobytes()])
    image, age = codec.read_inputs(request, SIGNATURE)
    np.testing.assert_array_equal(image, IMAGE)
    np.testing.assert_array_equal(age, AGE)


def test_typed_contents():
    request = pb.ModelInferRequest()
    image = request.inputs.add(name="image", datatype="FP32", shape=IMAGE.shape)
    image.contents.fp32_contents.extend(IMAGE.ravel())
    age = request.inputs.add(name="age", datatype="INT64", shape=AGE.shape)
    age.contents.int64_contents.extend(AGE.ravel())
    image, age = codec.read_inputs(request, SIGNATURE)
    np.testing.assert_array_equal(image, IMAGE)
    np.testing.assert_array_equal(age, AGE)


def unknown(r):
    r.inputs[0].name = "picture"


def twice(r):
    r.inputs[1].CopyFrom(r.inputs[0])


def missing(r):
    del r.inputs[1], r.raw_input_contents[1]


def datatype(r):
    r.inputs[0].datatype = "FP64"


def flat(r):
    r.inputs[0].shape[:] = [2, 4]


def wide(r):
    r.inputs[0].shape[:] = [2, 2, 3]


def negative(r):
    r.inputs[0].shape[:] = [-1, 2, 2]


def enormous(r):
    r.inputs[0].shape[:] = [2**62, 2, 2]


def short(r):
    r.raw_input_contents[0] = b"abc"


def mixed(r):
    r.inputs[0].contents.fp32_contents.append(1)


def one_raw_too_few(r):
    del r.raw_input_contents[1]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (unknown, "'picture': unknown; allowed are 'image' (FP32 [-1, 2, 2]), 'age' (INT64"),
        (twice, "input 'image': given twice"),
        (missing, "input 'age': missing; needed are 'age' (INT64 [-1, 1])"),
        (datatype, "input 'image': datatype 'FP64', needed is FP32"),
        (flat, "input 'image': shape [2, 4], needed is [-1, 2, 2] (-1: any size)"),
        (wide, "input 'image': shape [2, 2, 3], needed is [-1, 2, 2]"),
        (negative, "input 'image': shape [-1, 2, 2] has a negative dimension"),
        (enormous, "larger than any memory"),
        (short, "input 'image': shape [2, 2, 2] of FP32 needs 32 bytes, got 3"),
        (mixed, "input 'image': has contents beside raw_input_contents"),
        (one_raw_too_few, "1 raw_input_contents for 2 inputs"),
    ],
)
def test_what_is_wrong_with_an_input_is_said(spoil, message):
    request = raw_request()
    spoil(request)
    with pytest.raises(InvalidArgument) as caught:
        codec.read_inputs(request, SIGNATURE)
    assert message in caught.value.message
    assert caught.value.field


def test_typed_contents_in_the_wrong_field():
    request = pb.ModelInferRequest()
    image = request.inputs.add(name="image", datatype="FP32", shape=IMAGE.shape)
    image.contents.fp64_contents.extend(IMAGE.ravel())
    with pytest.raises(InvalidTensor, match="fp32_contents"):
        codec.read_inputs(request, SIGNATURE)


def test_extensions_that_are_not_served_are_refused():
    request = raw_request()
    request.inputs[0].parameters["shared_memory_region"].string_param = "r"
    with pytest.raises(Unsupported, match="shared memory"):
        codec.read_inputs(request, SIGNATURE)
    request = raw_request()
    request.parameters["sequence_id"].int64_param = 1
    with pytest.raises(Unsupported, match="sequences"):
        codec.read_inputs(request, SIGNATURE)
    request = raw_request()
    request.outputs.add(name="logits").parameters["classification"].int64_param = 1
    with pytest.raises(Unsupported, match="classification"):
        codec.read_outputs(request, SIGNATURE)


def test_hints_are_not_refused():
    request = raw_request()
    request.parameters["priority"].uint64_param = 1
    request.parameters["timeout"].int64_param = 1_000_000
    assert len(codec.read_inputs(request, SIGNATURE)) == 2


@pytest.mark.parametrize(
    ("names", "wanted"), [((), [0, 1]), (("label",), [1]), (("label", "logits"), [1, 0])]
)
def test_outputs_are_those_asked_for_in_that_order(names, wanted):
    request = raw_request()
    for name in names:
        request.outputs.add(name=name)
    assert list(codec.read_outputs(request, SIGNATURE)) == wanted


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("probs",), "output 'probs': unknown; allowed are 'logits' (FP32 [-1, 3]), 'label' "),
        (("label", "label"), "output 'label': asked for twice"),
    ],
)
def test_what_is_wrong_with_an_output_is_said(names, message):
    request = raw_request()
    for name in names:
        request.outputs.add(name=name)
    with pytest.raises(InvalidArgument) as caught:
        codec.read_outputs(request, SIGNATURE)
    assert message in caught.value.message


def test_answers_are_raw_and_of_the_outputs_wanted():
    outputs = [np.ones((2, 3), np.float32), np.array([4, 5])]
    response = pb.ModelInferResponse.FromString(
        codec.ResponseWriter(SIGNATURE).write("id-1", [1, 0], outputs)
    )
    assert (response.model_name, response.model_version, response.id) == ("mixed", "3", "id-1")
    assert [(o.name, o.datatype, list(o.shape)) for o in response.outputs] == [
        ("label", "INT64", [2]),
        ("logits", "FP32", [2, 3]),
    ]
    assert response.raw_output_contents[0] == np.array([4, 5]).tobytes()
    assert not any(o.HasField("contents") for o in response.outputs)


def test_answers_of_other_shapes_and_other_outputs_do_not_mix(monkeypatch):
    monkeypatch.setattr(codec, "_MAX_HEADS", 3)
    writer = codec.ResponseWriter(SIGNATURE)
    for rows in (1, 2, 3, 2, 1, 3):
        outputs = [np.full((rows, 3), rows, np.float32), np.full(rows, rows)]
        for wanted in ([0], [1], [0, 1], [1, 0], range(2)):
            written = writer.write(f"id-{rows}", wanted, outputs)
            response = pb.ModelInferResponse.FromString(written)
            assert response.id == f"id-{rows}"
            assert [o.name for o in response.outputs] == [SIGNATURE.outputs[i].name for i in wanted]
            assert [tuple(o.shape) for o in response.outputs] == [outputs[i].shape for i in wanted]
            assert list(response.raw_output_contents) == [outputs[i].tobytes() for i in wanted]


def test_rows_must_agree_and_exist():
    with pytest.raises(InvalidTensor, match="1 rows, but input 'image' has 2"):
        SIGNATURE.rows([IMAGE, AGE[:1]])
    with pytest.raises(InvalidTensor, match="0 rows; at least 1"):
        SIGNATURE.rows([IMAGE[:0], AGE[:0]])
    assert SIGNATURE.rows([IMAGE, AGE]) == 2
