"""ModelStreamInfer as clients meet it: many requests under way, errors in the stream."""

import queue
import threading

import grpc
import numpy as np
import onnx.parser
import pytest

from wintergarden.wire import open_inference_pb2 as pb

FINAL = "triton_final_response"


class Conversation:
    """A stream whose requests are sent one by one."""

    def __init__(self, client, **options):
        self._requests = queue.Queue()
        self.answers = client.ModelStreamInfer(iter(self._requests.get, None), **options)

    def say(self, request):
        self._requests.put(request)

    def close(self):
        self._requests.put(None)


def numbered(world, i, model="sum"):
    request = world.request(model, {n: world.integers([[i, 2 * i]]) for n in "ab"})
    request.id = str(i)
    return request


def test_a_thousand_requests_are_under_way_at_once(served):
    requests = [numbered(served.world, i) for i in range(1000)]
    answers = list(served.client.ModelStreamInfer(iter(requests), timeout=60))
    assert {a.infer_response.id for a in answers} == {str(i) for i in range(1000)}
    for answer in answers:
        i = int(answer.infer_response.id)
        assert not answer.error_message
        assert answer.infer_response.parameters[FINAL].bool_param
        (y,) = served.world.arrays(answer.infer_response).values()
        assert y.tolist() == [[2 * i, 4 * i]]


def test_answers_come_while_requests_go(served):
    talk = Conversation(served.client, timeout=30)
    for i in range(5):
        talk.say(numbered(served.world, i))
        assert next(talk.answers).infer_response.id == str(i)
    talk.close()
    assert list(talk.answers) == []


def test_an_error_is_told_in_the_stream_and_the_stream_goes_on(served):
    bad = numbered(served.world, 1)
    bad.inputs[0].name = "c"
    unknown = numbered(served.world, 2, model="sum")
    unknown.model_name = "nobody"
    requests = [bad, unknown, numbered(served.world, 3)]
    answers = {
        a.infer_response.id: a for a in served.client.ModelStreamInfer(iter(requests), timeout=30)
    }
    assert "input 'c': unknown; allowed are 'a'" in answers["1"].error_message
    assert "no model 'nobody'" in answers["2"].error_message
    assert answers["3"].error_message == ""
    assert len(answers) == 3


def test_an_error_ends_the_stream_of_a_client_that_asks_for_a_status(served):
    unknown = numbered(served.world, 1)
    unknown.model_name = "nobody"
    talk = Conversation(served.client, metadata=[("triton_grpc_error", "true")], timeout=30)
    talk.say(unknown)
    with pytest.raises(grpc.RpcError) as caught:
        list(talk.answers)
    talk.close()
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert "no model 'nobody'" in caught.value.details()


def test_bytes_that_are_no_request_are_an_error_in_the_stream(served):
    raw = served.client.channel.stream_stream(
        "/inference.GRPCInferenceService/ModelStreamInfer",
        response_deserializer=pb.ModelStreamInferResponse.FromString,
    )
    good = numbered(served.world, 7).SerializeToString()
    first, second = raw(iter([b"\xff\xff", good]), timeout=30)
    assert "are not a inference.ModelInferRequest" in first.error_message
    assert second.infer_response.id == "7"


def test_many_streams_at_once(served):
    def converse(k, seen):
        requests = [numbered(served.world, 100 * k + i) for i in range(50)]
        for answer in served.client.ModelStreamInfer(iter(requests), timeout=60):
            seen.append(int(answer.infer_response.id))

    seen = [[] for _ in range(8)]
    threads = [threading.Thread(target=converse, args=(k, seen[k])) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [sorted(ids) for ids in seen] == [[100 * k + i for i in range(50)] for k in range(8)]


def test_a_client_that_leaves_takes_its_requests_with_it(world):
    world.publish("patient")
    app, client = world.serve(inline_run_ms=0, max_batch_rows=1)
    slow = world.request("patient", {"x": np.array([[1_000_000]], np.float32)})
    talk = Conversation(client)
    for _ in range(5):
        talk.say(slow)
    scheduler = app.repository.resolve("patient").scheduler
    world.eventually(lambda: scheduler.waiting == 4)
    talk.answers.cancel()
    talk.close()
    world.eventually(lambda: scheduler.waiting == 0)
    assert scheduler.statistics.read().executions <= 1


def test_a_stopping_server_answers_what_a_stream_has_said(world):
    world.publish("patient")
    app, client = world.serve(inline_run_ms=0, max_batch_rows=1)
    slow = world.request("patient", {"x": np.array([[300_000]], np.float32)})
    talk = Conversation(client)
    for _ in range(3):
        talk.say(slow)
    scheduler = app.repository.resolve("patient").scheduler
    world.eventually(lambda: scheduler.waiting == 2)
    stopping = threading.Thread(target=app.stop, args=(60,))
    stopping.start()
    answers = []
    with pytest.raises(grpc.RpcError) as caught:
        for answer in talk.answers:
            answers.append(answer)
    talk.close()
    stopping.join()
    assert len(answers) == 3
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


COUNT = """<ir_version: 8, opset_import: ["" : 17]>
count (float[n, 1] x) => (float[n, 1] y) { y = Neg (x) }"""


@pytest.fixture
def decoupled(world):
    _, client = world.serve(model_control="explicit")
    request = pb.RepositoryModelLoadRequest(model_name="count")
    config = '{"backend": "onnxruntime", "model_transaction_policy": {"decoupled": true}}'
    request.parameters["config"].string_param = config
    model = onnx.parser.parse_model(COUNT).SerializeToString()
    request.parameters["file:1/model.onnx"].bytes_param = model
    client.RepositoryModelLoad(request)
    return client


@pytest.mark.parametrize("wants_empty", [False, True])
def test_a_decoupled_model_answers_row_by_row(world, decoupled, wants_empty):
    request = world.request("count", {"x": np.array([[1], [2], [3]], np.float32)})
    request.id = "r"
    request.parameters["triton_enable_empty_final_response"].bool_param = wants_empty
    answers = [a.infer_response for a in decoupled.ModelStreamInfer(iter([request]), timeout=30)]
    rows = answers[:-1] if wants_empty else answers
    assert [world.arrays(a)["y"].tolist() for a in rows] == [[[-1]], [[-2]], [[-3]]]
    assert not any(a.parameters[FINAL].bool_param for a in rows)
    if wants_empty:
        assert answers[-1].parameters[FINAL].bool_param
        assert not answers[-1].outputs
    assert {a.id for a in answers} == {"r"}
    (statistics,) = decoupled.ModelStatistics(pb.ModelStatisticsRequest(name="count")).model_stats
    assert statistics.inference_stats.success.count == 1
    responses = statistics.response_stats
    assert sorted(responses) == ["0", "1", "2", "3"]
    assert [responses[number].success.count for number in "0123"] == [1, 1, 1, 0]
    assert responses["3"].empty_response.count == 1
    assert responses["0"].compute_infer.ns > 0


def test_a_decoupled_model_is_not_for_unary_calls(world, decoupled):
    with pytest.raises(grpc.RpcError) as caught:
        decoupled.ModelInfer(world.request("count", {"x": np.ones((1, 1), np.float32)}))
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "use ModelStreamInfer" in caught.value.details()
