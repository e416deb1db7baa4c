import ml_dtypes
import numpy as np
import pytest

from services.inference.protocol import codec, responses
from services.inference.protocol.asked import Asked
from services.inference.scheduling.scheduler import SequenceControl
from services.inference.signature import Signature
from wintergarden.errors import InvalidArgument, InvalidTensor
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
    image, age = codec.read(request, SIGNATURE).feeds
    np.testing.assert_array_equal(image, IMAGE)
    np.testing.assert_array_equal(age, AGE)


def test_typed_contents():
    request = pb.ModelInferRequest()
    image = request.inputs.add(name="image", datatype="FP32", shape=IMAGE.shape)
    image.contents.fp32_contents.extend(IMAGE.ravel())
    age = request.inputs.add(name="age", datatype="INT64", shape=AGE.shape)
    age.contents.int64_contents.extend(AGE.ravel())
    image, age = codec.read(request, SIGNATURE).feeds
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
        (mixed, "contents field must not be specified when using raw_input_contents for 'image'"),
        (one_raw_too_few, "1 raw_input_contents for 2 inputs"),
    ],
)
def test_what_is_wrong_with_an_input_is_said(spoil, message):
    request = raw_request()
    spoil(request)
    with pytest.raises(InvalidArgument) as caught:
        codec.read(request, SIGNATURE)
    assert message in caught.value.message
    assert caught.value.field


def test_typed_contents_in_the_wrong_field():
    request = pb.ModelInferRequest()
    image = request.inputs.add(name="image", datatype="FP32", shape=IMAGE.shape)
    image.contents.fp64_contents.extend(IMAGE.ravel())
    with pytest.raises(InvalidTensor, match="fp32_contents"):
        codec.read(request, SIGNATURE)


def asked(outputs=(0, 1), **changes):
    return Asked([], tuple(outputs), changes.pop("forms", {}), **changes)


def test_what_a_request_says_beside_its_tensors():
    request = raw_request()
    request.parameters["priority"].uint64_param = 2**40
    request.parameters["timeout"].int64_param = 1_000_000
    request.parameters["sequence_id"].int64_param = 7
    request.parameters["sequence_start"].bool_param = True
    request.parameters["triton_enable_empty_final_response"].bool_param = True
    request.parameters["binary_data_output"].bool_param = True
    request.parameters["of the model's own"].string_param = "x"
    request.inputs[0].parameters["binary_data_size"].int64_param = 32
    request.outputs.add(name="label").parameters["binary_data"].bool_param = True
    got = codec.read(request, SIGNATURE)
    assert (got.priority, got.timeout_us, got.wants_empty_final) == (2**40, 1_000_000, True)
    assert got.sequence == SequenceControl(7, is_start=True, is_end=False)
    assert got.outputs == (1,)
    assert got.forms == {}


@pytest.mark.parametrize(
    ("field", "value", "sequence"),
    [
        ("int64_param", 0, None),
        ("string_param", "", None),
        ("string_param", "ä b", "ä b"),
        ("int64_param", -1, 2**64 - 1),
    ],
)
def test_a_sequence_is_named_by_a_number_or_a_text(field, value, sequence):
    request = raw_request()
    setattr(request.parameters["sequence_id"], field, value)
    request.parameters["sequence_end"].bool_param = True
    got = codec.read(request, SIGNATURE).sequence
    assert got == (sequence and SequenceControl(sequence, is_start=False, is_end=True))


@pytest.mark.parametrize(
    ("name", "field", "value", "message"),
    [
        ("priority", "int64_param", -1, "-1; at least 0"),
        ("priority", "string_param", "1", "string_param, needed is int64_param or uint64_param"),
        ("timeout", "uint64_param", 1, "uint64_param, needed is int64_param"),
        ("timeout", "int64_param", -5, "-5; at least 0"),
        ("sequence_id", "double_param", 1.0, "needed is int64_param or string_param"),
        ("sequence_id", "string_param", "x" * 129, "129 characters; at most 128"),
        ("sequence_start", "int64_param", 1, "needed is bool_param"),
        ("triton_secret", "bool_param", True, "'triton_' is reserved"),
        ("triton_enable_empty_final_response", "int64_param", 1, "needed is bool_param"),
        ("mine", "uint64_param", 1, "uint64_param, needed is bool_param or int64_param"),
        ("mine", None, None, "no value, needed is"),
    ],
)
def test_a_wrong_parameter_is_refused(name, field, value, message):
    request = raw_request()
    parameter = request.parameters[name]
    if field:
        setattr(parameter, field, value)
    with pytest.raises(InvalidArgument) as caught:
        codec.read(request, SIGNATURE)
    assert message in caught.value.message
    assert caught.value.field == f"parameters.{name}"


@pytest.mark.parametrize(
    ("names", "wanted"), [((), [0, 1]), (("label",), [1]), (("label", "logits"), [1, 0])]
)
def test_outputs_are_those_asked_for_in_that_order(names, wanted):
    request = raw_request()
    for name in names:
        request.outputs.add(name=name)
    assert list(codec.read(request, SIGNATURE).outputs) == wanted


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
        codec.read(request, SIGNATURE)
    assert message in caught.value.message


def test_answers_are_raw_and_of_the_outputs_wanted():
    outputs = [np.ones((2, 3), np.float32), np.array([4, 5])]
    response = pb.ModelInferResponse.FromString(
        responses.ResponseWriter(SIGNATURE).write("id-1", asked((1, 0)), outputs)
    )
    assert (response.model_name, response.model_version, response.id) == ("mixed", "3", "id-1")
    assert [(o.name, o.datatype, list(o.shape)) for o in response.outputs] == [
        ("label", "INT64", [2]),
        ("logits", "FP32", [2, 3]),
    ]
    assert response.raw_output_contents[0] == np.array([4, 5]).tobytes()
    assert not any(o.HasField("contents") for o in response.outputs)


def test_answers_of_other_shapes_and_other_outputs_do_not_mix(monkeypatch):
    monkeypatch.setattr(responses, "_MAX_SHAPES", 3)
    writer = responses.ResponseWriter(SIGNATURE)
    for rows in (1, 2, 3, 2, 1, 3):
        outputs = [np.full((rows, 3), rows, np.float32), np.full(rows, rows)]
        for wanted in ([0], [1], [0, 1], [1, 0], range(2)):
            written = writer.write(f"id-{rows}", asked(wanted), outputs)
            response = pb.ModelInferResponse.FromString(written)
            assert response.id == f"id-{rows}"
            assert [o.name for o in response.outputs] == [SIGNATURE.outputs[i].name for i in wanted]
            assert [tuple(o.shape) for o in response.outputs] == [outputs[i].shape for i in wanted]
            assert list(response.raw_output_contents) == [outputs[i].tobytes() for i in wanted]


def test_an_answer_of_parameters_alone():
    written = responses.ResponseWriter(SIGNATURE).write(
        "x", asked(), [], parameters={"triton_final_response": True, "sequence_id": 7}
    )
    response = pb.ModelInferResponse.FromString(written)
    assert (response.model_name, response.id, len(response.outputs)) == ("mixed", "x", 0)
    assert response.parameters["triton_final_response"].bool_param
    assert response.parameters["sequence_id"].int64_param == 7


@pytest.mark.parametrize("form", ["transposed", "strided", "scalar", "empty", "bool"])
def test_values_of_every_layout_are_written_row_major(form):
    array = {
        "transposed": np.arange(6, dtype=np.float32).reshape(2, 3).T,
        "strided": np.arange(8, dtype=np.float32)[::2],
        "scalar": np.float32(3).reshape(()),
        "empty": np.empty((0, 3), np.float32),
        "bool": np.array([True, False]),
    }[form]
    datatype = "BOOL" if form == "bool" else "FP32"
    shape = (-1,) * array.ndim
    signature = Signature("m", "1", (), (TensorSpec("y", datatype, shape),), is_rowwise=False)
    written = responses.ResponseWriter(signature).write("x", asked((0,)), [array])
    response = pb.ModelInferResponse.FromString(written)
    assert tuple(response.outputs[0].shape) == array.shape
    assert list(response.raw_output_contents) == [array.tobytes()]


def test_texts_and_halves_of_every_length_are_written():
    signature = Signature(
        "m", "1", (), (TensorSpec("t", "BYTES", (-1,)), TensorSpec("h", "BF16", (-1,))), False
    )
    writer = responses.ResponseWriter(signature)
    for text in ("", "a", "é" * 300):
        halves = np.array([1.5], ml_dtypes.bfloat16)
        written = writer.write("", asked(), [np.array([text], object), halves])
        response = pb.ModelInferResponse.FromString(written)
        texts, raw = response.raw_output_contents
        assert texts[4:].decode() == text
        assert raw == halves.tobytes()


OPTIONAL = Signature(
    "scaled",
    "1",
    inputs=(
        TensorSpec("x", "FP32", (-1, 2)),
        TensorSpec("scale", "FP32", (1,), is_optional=True),
    ),
    outputs=(TensorSpec("y", "FP32", (-1, 2)),),
    is_rowwise=True,
)


def test_an_optional_input_may_be_left_out():
    request = pb.ModelInferRequest()
    request.inputs.add(name="x", datatype="FP32", shape=[3, 2])
    request.raw_input_contents.append(bytes(24))
    feeds = codec.read(request, OPTIONAL).feeds
    assert feeds[0].shape == (3, 2)
    assert feeds[1] is None
    assert OPTIONAL.rows(feeds) == 3
    assert OPTIONAL.form(feeds) == OPTIONAL.form(feeds)
    request.inputs.add(name="scale", datatype="FP32", shape=[1])
    request.raw_input_contents.append(bytes(4))
    feeds = codec.read(request, OPTIONAL).feeds
    assert feeds[1] is not None
    # It may be a weight, which nobody shares: alone and in one piece.
    assert OPTIONAL.rows(feeds) == 1
    assert OPTIONAL.form(feeds) != OPTIONAL.form(feeds)
    del request.inputs[0], request.raw_input_contents[0]
    with pytest.raises(InvalidTensor, match="input 'x': missing"):
        codec.read(request, OPTIONAL)


def test_rows_must_agree():
    with pytest.raises(InvalidTensor, match="1 rows, but input 'image' has 2"):
        SIGNATURE.rows([IMAGE, AGE[:1]])
    assert SIGNATURE.rows([IMAGE, AGE]) == 2
    assert SIGNATURE.rows([IMAGE[:0], AGE[:0]]) == 0


def test_a_model_without_inputs_runs_alone():
    signature = Signature("dice", "1", (), (TensorSpec("y", "FP32", (-1,)),), is_rowwise=True)
    assert codec.read(pb.ModelInferRequest(), signature).feeds == []
    assert signature.rows([]) == 1
    assert signature.form([]) != signature.form([])
