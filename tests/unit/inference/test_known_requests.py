"""A request that is recognised means exactly what it would mean if it were parsed."""

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from services.inference.protocol import codec
from services.inference.protocol.known_requests import KnownRequests
from services.inference.signature import Signature
from wintergarden.errors import WintergardenError
from wintergarden.runtime import TensorSpec
from wintergarden.wire import open_inference_pb2 as pb
from wintergarden.wire import tensors
from wintergarden.wire.varint import varint


def signature_of(*inputs, is_rowwise=True):
    outputs = (TensorSpec("y", "FP32", (-1, 2)), TensorSpec("z", "FP32", (-1, 2)))
    return Signature("m", "3", inputs, outputs, is_rowwise=is_rowwise)


ONE = signature_of(TensorSpec("x", "FP32", (-1, -1)))
TWO = signature_of(TensorSpec("a", "INT64", (-1, 2)), TensorSpec("b", "FP16", (-1, 1)))


def message(arrays, *, model="m", version="", request_id="", outputs=()):
    request = pb.ModelInferRequest(model_name=model, model_version=version, id=request_id)
    for name, array in arrays.items():
        request.inputs.add(name=name, datatype=tensors.datatype_of(array.dtype), shape=array.shape)
        request.raw_input_contents.append(tensors.encode(array))
    for name in outputs:
        request.outputs.add(name=name)
    return request


def parsed(payload, signature):
    """What parsing makes of it; None where it is refused."""
    try:
        request = pb.ModelInferRequest.FromString(payload)
        return request, codec.read(request, signature)
    except (DecodeError, WintergardenError):
        return None


def learn(known, payload, signature):
    request, asked = parsed(payload, signature)
    known.remember(payload, request, signature, asked)


def check(known, payload, signature):
    """Whether it is recognised; and if so, rightly."""
    found = known.find(payload)
    if found is None:
        return False
    kind, request_id, feeds = found
    meant = parsed(payload, kind.signature)
    assert meant is not None, "what is recognised can be parsed"
    request, asked = meant
    assert (kind.name, kind.version) == (request.model_name, request.model_version)
    assert request_id == request.id
    assert kind.signature is signature
    assert kind.asked.outputs == asked.outputs
    assert (kind.asked.forms, kind.asked.priority, kind.asked.timeout_us) == ({}, 0, 0)
    assert kind.asked.sequence is asked.sequence is None
    assert kind.rows == signature.rows(asked.feeds)
    assert kind.form == signature.form(asked.feeds)
    for got, expected in zip(feeds, asked.feeds, strict=True):
        assert (got.dtype, got.shape) == (expected.dtype, expected.shape)
        assert got.tobytes() == expected.tobytes()
        assert not got.flags.writeable
    return True


def two(rows, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "a": rng.integers(0, 99, (rows, 2), np.int64),
        "b": rng.random((rows, 1)).astype(np.float16),
    }


@pytest.mark.parametrize("request_id", ["", "1", "ein längerer Name"])
@pytest.mark.parametrize("outputs", [(), ("z", "y")])
@pytest.mark.parametrize("version", ["", "3"])
def test_other_values_and_another_id_are_recognised(request_id, outputs, version):
    known = KnownRequests()
    options = {"outputs": outputs, "version": version}
    first = message(two(5), request_id=request_id, **options).SerializeToString()
    assert known.find(first) is None
    learn(known, first, TWO)
    assert check(known, first, TWO)
    other = message(two(5, seed=1), request_id=request_id[::-1], **options).SerializeToString()
    assert check(known, other, TWO)
    longer = message(two(5), request_id=request_id + "0", **options).SerializeToString()
    assert not check(known, longer, TWO)


def test_inputs_may_come_in_any_order():
    known = KnownRequests()
    backwards = dict(reversed(two(3).items()))
    payload = message(backwards).SerializeToString()
    learn(known, payload, TWO)
    assert check(known, payload, TWO)


def test_what_differs_in_anything_else_is_not_recognised():
    known = KnownRequests()
    payload = message({"x": np.zeros((2, 8), np.float32)}).SerializeToString()
    learn(known, payload, ONE)
    for other in (
        message({"x": np.zeros((4, 4), np.float32)}),
        message({"x": np.zeros((2, 8), np.int32)}),
        message({"y": np.zeros((2, 8), np.float32)}),
        message({"x": np.zeros((2, 8), np.float32)}, model="n"),
        message({"x": np.zeros((2, 8), np.float32)}, version="3"),
        message({"x": np.zeros((2, 8), np.float32)}, outputs=["y"]),
    ):
        assert not check(known, other.SerializeToString(), ONE)
    other = message({"x": np.zeros((4, 4), np.float32)}).SerializeToString()
    assert len(other) == len(payload)
    learn(known, other, ONE)
    assert check(known, other, ONE)
    assert check(known, payload, ONE), "requests of one length may be of several kinds"


def with_parameter(request, **where):
    request.parameters["priority"].int64_param = 1
    return request


def with_input_parameter(request):
    request.inputs[0].parameters["custom"].bool_param = True
    return request


@pytest.mark.parametrize(
    ("request_", "signature"),
    [
        (with_parameter(message(two(1))), TWO),
        (message({"x": np.array([True])}), signature_of(TensorSpec("x", "BOOL", (-1,)))),
        (message({"x": np.array([b"a"], object)}), signature_of(TensorSpec("x", "BYTES", (-1,)))),
        (
            message({"x": np.zeros((1, 1), np.float32)}),
            signature_of(
                TensorSpec("x", "FP32", (-1, 1)),
                TensorSpec("w", "FP32", (1,), is_optional=True),
            ),
        ),
    ],
)
def test_what_depends_on_more_than_its_length_is_always_parsed(request_, signature):
    known = KnownRequests()
    payload = request_.SerializeToString()
    learn(known, payload, signature)
    assert known.find(payload) is None


def test_a_message_written_in_another_order_is_always_parsed():
    request = message(two(2))
    contents = pb.ModelInferRequest(raw_input_contents=request.raw_input_contents)
    request.ClearField("raw_input_contents")
    payload = contents.SerializeToString() + request.SerializeToString()
    known = KnownRequests()
    learn(known, payload, TWO)
    assert known.find(payload) is None


def test_an_id_that_is_given_twice_is_always_parsed():
    request = message(two(2), request_id="1")
    contents = pb.ModelInferRequest(raw_input_contents=request.raw_input_contents)
    request.ClearField("raw_input_contents")
    for other in ("1", "2"):
        again = pb.ModelInferRequest(id=other)
        payload = b"".join(m.SerializeToString() for m in (request, again, contents))
        known = KnownRequests()
        learn(known, payload, TWO)
        assert known.find(payload) is None


def test_contents_hidden_in_another_field_are_not_taken_for_contents():
    values = np.arange(4, dtype=np.float32).reshape(1, 4)
    request = message({"x": values})
    honest = request.SerializeToString()
    tail = b"\x3a\x10" + values.tobytes()
    assert honest.endswith(tail)
    # A field that nobody knows, whose content ends like the message.
    disguised = honest + b"\xfa\x3e" + bytes([len(tail)]) + tail
    assert pb.ModelInferRequest.FromString(disguised).raw_input_contents == [values.tobytes()]
    known = KnownRequests()
    learn(known, disguised, ONE)
    assert known.find(disguised) is None


def test_a_new_version_takes_the_place_of_the_old_one():
    known = KnownRequests()
    payload = message({"x": np.zeros((2, 8), np.float32)}).SerializeToString()
    learn(known, payload, ONE)
    anew = signature_of(TensorSpec("x", "FP32", (-1, 8)))
    learn(known, payload, anew)
    assert check(known, payload, anew)
    assert sum(map(len, known._kinds.values())) == 1


def test_kinds_without_end_take_no_room_without_end():
    known = KnownRequests()
    for rows in range(1, 3000):
        learn(known, message({"x": np.zeros((rows, 1), np.float32)}).SerializeToString(), ONE)
    for rows in range(1, 200):
        values = np.zeros((rows, 400 // rows), np.float32)
        learn(known, message({"x": values}).SerializeToString(), ONE)
    assert len(known._kinds) <= 1024
    assert max(map(len, known._kinds.values())) <= 8


@pytest.mark.parametrize("unknown", ["parameter", "field"])
def test_a_long_beginning_is_not_remembered(unknown):
    def payload(length):
        request = message({"x": np.zeros((1, 2), np.float32)}, outputs=["y"])
        contents = pb.ModelInferRequest(raw_input_contents=request.raw_input_contents)
        if unknown == "parameter":
            request.outputs[0].parameters["note"].string_param = "a" * length
            return request.SerializeToString()
        request.ClearField("raw_input_contents")
        field = b"\xfa\x3e" + varint(length) + bytes(length)
        return request.SerializeToString() + field + contents.SerializeToString()

    known = KnownRequests()
    learn(known, payload(100), ONE)
    assert check(known, payload(100), ONE)
    for length in range(4096, 4096 + 40):
        learn(known, payload(length), ONE)
        assert known.find(payload(length)) is None
    assert sum(map(len, known._kinds.values())) == 1


@pytest.mark.parametrize("payload", [b"", b"\n", b"\n\x05m", b"\xff" * 9])
def test_whatever_comes_can_be_looked_up(payload):
    assert KnownRequests().find(payload) is None


mutations = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=4)


@settings(max_examples=400, deadline=None)
@given(
    mutations=mutations,
    rows=st.integers(0, 3),
    request_id=st.sampled_from(["", "1", "abc"]),
    cut=st.integers(0, 3),
)
def test_mutated_requests_are_recognised_rightly_or_not_at_all(mutations, rows, request_id, cut):
    known = KnownRequests()
    for signature, arrays in ((TWO, two(rows)), (ONE, {"x": np.zeros((rows, 2), np.float32)})):
        payload = message(arrays, request_id=request_id, version="3").SerializeToString()
        learn(known, payload, signature)
        mutated = bytearray(payload)
        for position, value in mutations:
            mutated[position % len(mutated)] = value
        check(known, bytes(mutated), signature)
        # What has been recognised once must not be learnt wrongly from what is odd.
        if parsed(bytes(mutated), signature) is not None:
            learn(known, bytes(mutated), signature)
        for end in (payload[: len(payload) - cut], bytes(mutated)[: len(payload) - cut]):
            check(known, end, signature)
        check(known, payload, signature)
