"""Sequences over the wire: states on the server, versions swapped under them."""

from __future__ import annotations

import threading

import grpc
import numpy as np
import onnx.parser
import pytest

from wintergarden.wire import open_inference_pb2 as pb

# x on top of FACTOR times what came before, so that order, company and version show.
GRAPH = """accumulator (int64[n, 1] x, int64[n, 1] past) => (int64[n, 1] y, int64[n, 1] now)
    <int64[1, 1] factor = {FACTOR}>
    { more = Mul (past, factor)  now = Add (more, x)  y = Identity (now) }"""
CONFIG = """max_batch_size: 8
    sequence_batching {
      max_sequence_idle_microseconds: IDLE
      oldest { max_candidate_sequences: 16 }
      state { input_name: "past" output_name: "now" data_type: TYPE_INT64 dims: 1 } }"""


def build(graph):
    header = '<ir_version: 8, opset_import: ["" : 17]>'
    return onnx.parser.parse_model(header + graph).SerializeToString()


@pytest.fixture
def accumulator(world):
    class Accumulator:
        folder = world.folder / "triton" / "accumulator"

        def publish(self, version, factor, idle_us=60_000_000):
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / "config.pbtxt").write_text(CONFIG.replace("IDLE", str(idle_us)))
            staged = self.folder.parent.parent / f"staged-{version}"
            staged.mkdir()
            content = build(GRAPH.replace("FACTOR", str(factor)))
            (staged / "model.onnx").write_bytes(content)
            staged.rename(self.folder / str(version))

        def serve(self, **settings):
            return world.serve(store_uri=str(self.folder.parent), **settings)

    return Accumulator()


def ask(client, x, sequence_id, *, start=False, end=False, version=""):
    request = request_of(x, sequence_id, start=start, end=end, version=version)
    return answer_of(client.ModelInfer(request, timeout=20))


def request_of(x, sequence_id, *, start=False, end=False, version=""):
    request = pb.ModelInferRequest(model_name="accumulator", model_version=version)
    request.inputs.add(name="x", datatype="INT64", shape=[1, 1])
    request.raw_input_contents.append(np.int64(x).tobytes())
    if isinstance(sequence_id, str):
        request.parameters["sequence_id"].string_param = sequence_id
    else:
        request.parameters["sequence_id"].int64_param = sequence_id
    request.parameters["sequence_start"].bool_param = start
    request.parameters["sequence_end"].bool_param = end
    return request


def answer_of(response):
    return int(np.frombuffer(response.raw_output_contents[0], np.int64)[0]), response.model_version


def test_clients_see_the_model_without_its_state(accumulator):
    accumulator.publish(1, factor=3)
    _, client = accumulator.serve()
    metadata = client.ModelMetadata(pb.ModelMetadataRequest(name="accumulator"))
    assert [(t.name, list(t.shape)) for t in metadata.inputs] == [("x", [-1, 1])]
    assert [t.name for t in metadata.outputs] == ["y"]


def test_many_clients_each_have_their_own_state(world, accumulator):
    accumulator.publish(1, factor=3)
    _, client = accumulator.serve()
    wrong = []

    def run(number):
        rng = np.random.default_rng(number)
        sequence_id = number if number % 2 else f"client {number}"
        for _ in range(10):
            values, expected = rng.integers(-50, 50, 6), 0
            for i, x in enumerate(values):
                expected = 3 * expected + int(x)
                got = ask(client, x, sequence_id, start=i == 0, end=i == len(values) - 1)
                if got != (expected, "1"):
                    wrong.append((number, i, got, expected))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong

    def counted():
        statistics = client.ModelStatistics(pb.ModelStatisticsRequest(name="accumulator"))
        return statistics.model_stats[0].inference_stats.success.count

    # A request is answered before it is counted.
    world.eventually(lambda: counted() == 8 * 10 * 6, 10)
    assert counted() == 8 * 10 * 6


def test_a_sequence_that_never_began_is_refused(accumulator):
    accumulator.publish(1, factor=3)
    _, client = accumulator.serve()
    with pytest.raises(grpc.RpcError) as refused:
        ask(client, 1, 42)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "sequence 42 to model 'accumulator' must specify the START flag" in (
        refused.value.details()
    )


def test_an_idle_sequence_is_forgotten(world, accumulator):
    accumulator.publish(1, factor=3, idle_us=200_000)
    _, client = accumulator.serve()
    assert ask(client, 5, 7, start=True)[0] == 5

    def is_forgotten():
        try:
            ask(client, 0, 7)
        except grpc.RpcError as error:
            return error.code() is grpc.StatusCode.INVALID_ARGUMENT
        threading.Event().wait(0.4)
        return False

    world.eventually(is_forgotten)
    assert ask(client, 1, 7, start=True)[0] == 1


def test_sequences_under_way_stay_on_their_version(world, accumulator):
    accumulator.publish(1, factor=3)
    _, client = accumulator.serve(versions_served=1)
    assert ask(client, 1, 7, start=True) == (1, "1")
    accumulator.publish(2, factor=10)
    world.eventually(lambda: ask(client, 1, 99, start=True, end=True)[1] == "2")
    assert ask(client, 1, 7) == (4, "1")
    assert ask(client, 1, 8, start=True) == (1, "2")
    assert ask(client, 1, 8) == (11, "2")
    assert ask(client, 1, 7, end=True) == (13, "1")
    with pytest.raises(grpc.RpcError, match="START"):
        ask(client, 1, 7)


def test_a_stream_of_several_sequences_is_answered_in_order(accumulator):
    accumulator.publish(1, factor=3)
    _, client = accumulator.serve()
    length, ids = 40, (1, 2, "three")
    requests = [
        request_of(step, sequence_id, start=step == 0, end=step == length - 1)
        for step in range(length)
        for sequence_id in ids
    ]
    for request in requests:
        request.id = str(request.parameters["sequence_id"])
    stream = client.channel.stream_stream(
        "/inference.GRPCInferenceService/ModelStreamInfer",
        request_serializer=pb.ModelInferRequest.SerializeToString,
        response_deserializer=pb.ModelStreamInferResponse.FromString,
    )
    got = {request.id: [] for request in requests}
    for response in stream(iter(requests), timeout=30):
        assert not response.error_message
        got[response.infer_response.id].append(answer_of(response.infer_response)[0])
    expected = [0]
    for step in range(1, length):
        expected.append((3 * expected[-1] + step + 2**63) % 2**64 - 2**63)
    assert list(got.values()) == [expected] * len(ids)
