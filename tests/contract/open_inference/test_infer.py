from concurrent.futures import ThreadPoolExecutor

import grpc
import numpy as np
import pytest

from wintergarden.service.testing import details_of
from wintergarden.wire import open_inference_pb2 as pb

X = np.array([[1, 2, 3, 4], [0, -1, 0.5, 2]], np.float32)


def refused(client, request):
    with pytest.raises(grpc.RpcError) as caught:
        client.ModelInfer(request)
    return caught.value


def test_a_thousand_random_requests_equal_onnxruntime(served):
    session, rng = served.world.session("classifier"), np.random.default_rng(1)
    feeds = [rng.standard_normal((rng.integers(1, 9), 4), np.float32) for _ in range(1000)]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda x: served.client.infer("classifier", {"x": x}), feeds))
    for x, answer in zip(feeds, answers, strict=True):
        logits, probabilities = session.run({"x": x})
        np.testing.assert_allclose(answer["logits"], logits, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(answer["probabilities"], probabilities, rtol=0, atol=1e-6)


def test_id_version_and_outputs_are_answered_as_asked(served):
    request = served.world.request("classifier", {"x": X}, "1")
    request.id = "seventeen"
    request.outputs.add(name="probabilities")
    response = served.client.ModelInfer(request)
    assert (response.id, response.model_version) == ("seventeen", "1")
    assert [(o.name, o.datatype, list(o.shape)) for o in response.outputs] == [
        ("probabilities", "FP32", [2, 3])
    ]
    (probabilities,) = served.world.arrays(response).values()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)


def test_typed_contents_give_raw_answers(served):
    request = pb.ModelInferRequest(model_name="sum")
    for name, values in (("a", [1, 2]), ("b", [30, 40])):
        tensor = request.inputs.add(name=name, datatype="INT64", shape=[1, 2])
        tensor.contents.int64_contents.extend(values)
    response = served.client.ModelInfer(request)
    np.testing.assert_array_equal(served.world.arrays(response)["y"], [[31, 42]])


def test_bytes(served):
    texts = np.array([[b"winter"], ["Gärten".encode()]], object)
    answer = served.client.infer("echo", {"x": texts})["y"]
    np.testing.assert_array_equal(answer, texts)


def test_no_rows_are_answered_with_no_rows(served):
    answer = served.client.infer("classifier", {"x": np.zeros((0, 4), np.float32)})
    assert answer["probabilities"].shape == (0, 3)


def test_more_rows_than_a_batch_holds(served):
    x = np.random.default_rng(0).standard_normal((1000, 4), np.float32)
    answer = served.client.infer("classifier", {"x": x})["logits"]
    (expected, _) = served.world.session("classifier").run({"x": x})
    np.testing.assert_allclose(answer, expected, rtol=1e-6, atol=1e-6)


def test_a_model_that_mixes_rows_sees_each_request_alone(served):
    feeds = [np.array([[i], [i + 2]], np.float32) for i in range(200)]
    with ThreadPoolExecutor(16) as pool:
        answers = pool.map(lambda x: served.client.infer("centred", {"x": x})["y"], feeds)
    for answer in answers:
        np.testing.assert_array_equal(answer, [[-1], [1]])


def test_a_fixed_batch_is_neither_merged_nor_padded(served):
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    with ThreadPoolExecutor(8) as pool:
        for answer in pool.map(lambda _: served.client.infer("pair", {"x": x})["y"], range(50)):
            np.testing.assert_array_equal(answer, -x)
    error = refused(served.client, served.world.request("pair", {"x": x[:1]}))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "input 'x': shape [1, 3], needed is [2, 3]" in error.details()


def test_one_bad_request_fails_alone(served):
    good = served.world.request("classifier", {"x": X})
    bad = served.world.request("classifier", {"x": X[:, :3].copy()})

    def ask(i):
        if i % 4 == 0:
            return refused(served.client, bad).code()
        return served.world.arrays(served.client.ModelInfer(good))["logits"]

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, range(200)))
    expected, _ = served.world.session("classifier").run({"x": X})
    for i, answer in enumerate(answers):
        if i % 4 == 0:
            assert answer is grpc.StatusCode.INVALID_ARGUMENT
        else:
            np.testing.assert_allclose(answer, expected, rtol=1e-6, atol=1e-6)


def name(r):
    r.inputs[0].name = "image"


def datatype(r):
    r.inputs[0].datatype = "FP64"


def shape(r):
    r.inputs[0].shape[:] = [4, 2]


def negative(r):
    r.inputs[0].shape[0] = -1


def byte_count(r):
    r.raw_input_contents[0] = b"abcd"


def mixed(r):
    r.inputs[0].contents.fp32_contents.append(1)


def duplicate(r):
    r.inputs.add().CopyFrom(r.inputs[0])
    r.raw_input_contents.append(r.raw_input_contents[0])


def missing(r):
    del r.inputs[:], r.raw_input_contents[:]


def output(r):
    r.outputs.add(name="labels")


def version(r):
    r.model_version = "newest"


@pytest.mark.parametrize(
    ("spoil", "message", "field"),
    [
        (name, "input 'image': unknown; allowed are 'x' (FP32 [-1, 4])", "inputs.image"),
        (datatype, "input 'x': datatype 'FP64', needed is FP32", "inputs.x"),
        (shape, "input 'x': shape [4, 2], needed is [-1, 4] (-1: any size)", "inputs.x"),
        (negative, "input 'x': shape [-1, 4] has a negative dimension", "inputs.x"),
        (byte_count, "input 'x': shape [2, 4] of FP32 needs 32 bytes, got 4", "inputs.x"),
        (
            mixed,
            "contents field must not be specified when using raw_input_contents for 'x'",
            "inputs.x",
        ),
        (duplicate, "input 'x': given twice", "inputs.x"),
        (missing, "input 'x': missing; needed are 'x' (FP32 [-1, 4])", "inputs.x"),
        (
            output,
            "output 'labels': unknown; allowed are 'logits' (FP32 [-1, 3]), ",
            "outputs.labels",
        ),
        (version, "version string 'newest'; allowed are a whole number", "model_version"),
    ],
)
def test_bad_requests_are_told_what_is_wrong_and_what_is_allowed(served, spoil, message, field):
    request = served.world.request("classifier", {"x": X})
    spoil(request)
    error = refused(served.client, request)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert message in error.details()
    details = details_of(error)
    assert details["ErrorInfo"].domain == "wintergarden"
    assert details["BadRequest"].field_violations[0].field == field


def test_bytes_that_are_no_message(served):
    error = refused_bytes(served, b"\xff\xff\xff")
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "are not a inference.ModelInferRequest" in error.details()


def test_an_unknown_model_names_those_served(served):
    error = refused(served.client, served.world.request("nobody", {"x": X}))
    assert error.code() is grpc.StatusCode.NOT_FOUND
    assert "no model 'nobody'; models are 'centred', 'classifier'," in error.details()


def test_shared_memory_that_is_off_is_refused_and_not_ignored(served):
    request = served.world.request("classifier", {"x": X})
    del request.raw_input_contents[:]
    request.inputs[0].parameters["shared_memory_region"].string_param = "mine"
    request.inputs[0].parameters["shared_memory_byte_size"].int64_param = X.nbytes
    error = refused(served.client, request)
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "--system-shared-memory" in error.details()


def test_a_sequence_means_nothing_to_a_model_without_state(served):
    request = served.world.request("classifier", {"x": X})
    request.parameters["sequence_id"].int64_param = 3
    assert served.client.ModelInfer(request).model_name == "classifier"


def test_tokens_the_model_does_not_have_are_the_callers_fault(world):
    world.publish(
        "embedding",
        """embedding (int64[n, 2] x) => (float[n, 2, 1] y) <float[3, 1] table = {1, 2, 3}>
        { y = Gather (table, x) }""",
    )
    _, client = world.serve()
    good, bad = world.integers([[0, 2]]), world.integers([[0, 99]])
    with ThreadPoolExecutor(16) as pool:
        asked = [
            pool.submit(client.infer, "embedding", {"x": bad if i % 3 == 0 else good})
            for i in range(60)
        ]
    for i, call in enumerate(asked):
        if i % 3 == 0:
            assert call.exception().code() is grpc.StatusCode.INVALID_ARGUMENT
        else:
            np.testing.assert_array_equal(call.result()["y"], [[[1], [3]]])


def refused_bytes(served, payload):
    send = served.client.channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
    with pytest.raises(grpc.RpcError) as caught:
        send(payload)
    return caught.value
