"""A Triton model repository of ONNX models as it stands, served over real sockets."""

from __future__ import annotations

import json
from pathlib import Path

import grpc
import numpy as np
import onnx
import onnx.parser
import pytest

from wintergarden.wire import model_config_pb2
from wintergarden.wire import open_inference_pb2 as pb

HEADER = '<ir_version: 8, opset_import: ["" : 17]> '
TWO = """g (float[n, 2] x, float[n] k) => (float[n, 2] sum, float[n, 2] difference)
    <int64[1] one = {1}>
    { wide = Unsqueeze (k, one)  sum = Add (x, wide)  difference = Sub (x, wide) }"""
X = np.array([[1, 2], [3, 4]], np.float32)
K = np.array([[10], [20]], np.float32)
CONFIGURED = """
    name: "configured"  platform: "onnxruntime_onnx"  max_batch_size: 4
    default_model_filename: "graph.onnx"
    input [ { name: "x" data_type: TYPE_FP32 dims: [ 2 ] },
            { name: "k" data_type: TYPE_FP32 dims: [ 1 ] reshape { shape: [ ] } } ]
    output [ { name: "sum" data_type: TYPE_FP32 dims: [ 2 ] label_filename: "labels.txt" } ]
    version_policy { specific { versions: [ 1, 3 ] } }
    dynamic_batching { preferred_batch_size: [ 2, 4 ] max_queue_delay_microseconds: 500
                       priority_levels: 2 default_priority_level: 1 }
    instance_group [ { count: 2 kind: KIND_CPU } ]
    model_warmup [ { name: "sample" batch_size: 3 count: 2
                     inputs { key: "x" value { data_type: TYPE_FP32 dims: 2 random_data: true } }
                     inputs { key: "k" value { data_type: TYPE_FP32 dims: 1
                                               input_data_file: "k" } } } ]
    parameters { key: "intra_op_thread_count" value { string_value: "1" } }
"""
COUNTER = """
    max_batch_size: 4
    input { name: "x" data_type: TYPE_FP32 dims: [ 1 ] }
    output { name: "y" data_type: TYPE_FP32 dims: [ 1 ] }
    sequence_batching {
      state { input_name: "total" output_name: "new_total" data_type: TYPE_FP32 dims: [ 1 ]
              initial_state { name: "start" data_type: TYPE_FP32 dims: [ 1 ]
                              data_file: "hundred" } }
    }
"""
COUNTING = """g (float[n, 1] x, float[n, 1] total) => (float[n, 1] y, float[n, 1] new_total)
    { y = Add (x, total)  new_total = Identity (y) }"""


def graph(text: str) -> bytes:
    model = onnx.parser.parse_model(HEADER + text)
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


def multiplying(number: float) -> bytes:
    text = f"g (float[n, 2] x) => (float[n, 2] y) <float[1] k = {{{number}}}> {{ y = Mul (x, k) }}"
    model = onnx.parser.parse_model(HEADER + text)
    content: bytes = model.SerializeToString()
    return content


def write(path: Path, content: bytes | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}")
    part.write_bytes(content if isinstance(content, bytes) else content.encode())
    part.replace(path)


@pytest.fixture
def root(world) -> Path:
    """A repository with the parts that a repository may have."""
    root: Path = world.folder / "repository"
    write(root / "plain/1/model.onnx", multiplying(2))
    write(root / "plain/2/model.onnx", multiplying(3))
    write(root / "configured/config.pbtxt", CONFIGURED)
    write(root / "configured/labels.txt", "left\nright\n")
    write(root / "configured/warmup/k", np.ones(3, np.float32).tobytes())
    for version in (1, 2, 3):
        write(root / f"configured/{version}/graph.onnx", graph(TWO))
    write(root / "counter/config.pbtxt", COUNTER)
    write(root / "counter/initial_state/hundred", np.float32(100).tobytes())
    write(root / "counter/1/model.onnx", graph(COUNTING))
    write(root / "python/config.pbtxt", 'backend: "python"')
    write(root / "python/1/model.py", "print()")
    return root


@pytest.fixture
def client(world, root):
    return world.serve(store_uri=str(root))[1]


def index(client) -> dict[tuple[str, str], tuple[str, str]]:
    models = client.RepositoryIndex(pb.RepositoryIndexRequest()).models
    return {(m.name, m.version): (m.state, m.reason) for m in models}


def config(client, name: str) -> model_config_pb2.ModelConfig:
    return client.ModelConfig(pb.ModelConfigRequest(name=name)).config


def test_what_is_served_and_why_the_rest_is_not(client):
    listed = index(client)
    assert {key for key, (state, _) in listed.items() if state == "READY"} == {
        ("plain", "2"),
        ("configured", "1"),
        ("configured", "3"),
        ("counter", "1"),
    }
    assert "not among the latest 1" in listed["plain", "1"][1]
    assert "not among the versions [1, 3]" in listed["configured", "2"][1]
    assert "'python' is not served here" in listed["python", "1"][1]
    assert "convert the model to ONNX" in listed["python", "1"][1]


def test_a_model_without_a_configuration(client):
    np.testing.assert_array_equal(client.infer("plain", {"x": X})["y"], 3 * X)
    found = config(client, "plain")
    assert (found.name, found.platform, found.max_batch_size) == ("plain", "onnxruntime_onnx", 64)
    assert [(t.name, t.data_type, list(t.dims)) for t in found.input] == [
        ("x", model_config_pb2.TYPE_FP32, [2])
    ]
    assert found.version_policy.latest.num_versions == 1


def test_a_configured_model_is_seen_as_its_configuration_says(client):
    metadata = client.ModelMetadata(pb.ModelMetadataRequest(name="configured"))
    assert list(metadata.versions) == ["1", "3"]
    assert [(t.name, list(t.shape)) for t in metadata.inputs] == [("x", [-1, 2]), ("k", [-1, 1])]
    assert [t.name for t in metadata.outputs] == ["sum"]
    answer = client.infer("configured", {"x": X, "k": K})
    np.testing.assert_array_equal(answer["sum"], X + K)
    found = config(client, "configured")
    assert list(found.dynamic_batching.preferred_batch_size) == [2, 4]
    assert found.model_warmup[0].count == 2
    assert (found.instance_group[0].name, found.instance_group[0].count) == ("configured_0", 2)
    assert list(found.input[1].reshape.shape) == []


def test_an_output_that_the_configuration_leaves_out_is_unknown(client, world):
    request = world.request("configured", {"x": X, "k": K})
    request.outputs.add(name="difference")
    with pytest.raises(grpc.RpcError) as caught:
        client.ModelInfer(request)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "'sum'" in caught.value.details()


def test_names_of_classes_come_from_the_label_file(client, world):
    request = world.request("configured", {"x": X, "k": K})
    request.outputs.add(name="sum").parameters["classification"].int64_param = 1
    (classes,) = world.arrays(client.ModelInfer(request)).values()
    assert [c.decode().split(":")[1:] for c in classes.reshape(-1)] == [["1", "right"]] * 2


def test_a_sequence_begins_with_its_initial_state(client, world):
    def step(value: float, **control: bool) -> float:
        request = world.request("counter", {"x": np.array([[value]], np.float32)})
        request.parameters["sequence_id"].int64_param = 7
        for name, truth in control.items():
            request.parameters[name].bool_param = truth
        return float(world.arrays(client.ModelInfer(request))["y"][0, 0])

    assert step(1, sequence_start=True) == 101
    assert step(2) == 103
    assert step(3, sequence_end=True) == 106


@pytest.mark.parametrize("location", ["../../weights.bin", "{root}/weights.bin", "link.bin"])
def test_external_data_lies_in_the_folder_of_the_version(world, root, location):
    weights = np.arange(4, dtype=np.float32)
    write(root / "inside/1/data/weights.bin", weights.tobytes())
    write(root / "weights.bin", weights.tobytes())
    (root / "outside/1").mkdir(parents=True)
    (root / "outside/1/link.bin").symlink_to(root / "weights.bin")
    write(root / "inside/1/model.onnx", weighted("data/weights.bin"))
    write(root / "outside/1/model.onnx", weighted(location.format(root=root)))
    _, client = world.serve(store_uri=str(root))
    x = np.ones((2, 4), np.float32)
    np.testing.assert_array_equal(client.infer("inside", {"x": x})["y"], [weights] * 2)
    state, reason = index(client)["outside", "1"]
    assert state == "UNAVAILABLE"
    assert "External data path" in reason


def weighted(location: str) -> bytes:
    """Multiplies by four numbers that lie in another file."""
    text = "g (float[n, 4] x) => (float[n, 4] y) <float[4] w = {0, 0, 0, 0}> { y = Mul (x, w) }"
    model = onnx.parser.parse_model(HEADER + text)
    (tensor,) = model.graph.initializer
    tensor.ClearField("float_data")
    tensor.data_location = tensor.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    content: bytes = model.SerializeToString()
    return content


def test_what_changes_on_disk_changes_what_is_served(client, world, root):
    write(root / "plain/2/model.onnx", multiplying(5))
    world.eventually(lambda: client.infer("plain", {"x": X})["y"][0, 0] == 5)
    write(root / "plain/config.pbtxt", "max_batch_size: 3")
    world.eventually(lambda: config(client, "plain").max_batch_size == 3)
    np.testing.assert_array_equal(client.infer("plain", {"x": X})["y"], 5 * X)
    write(root / "plain/3/model.onnx", multiplying(7))
    world.eventually(lambda: client.infer("plain", {"x": X})["y"][0, 0] == 7)
    write(root / "plain/config.pbtxt", "max_batch_size: oops")
    world.eventually(lambda: "is not valid" in index(client)["plain", "3"][1])
    assert index(client)["plain", "3"][0] == "READY"
    np.testing.assert_array_equal(client.infer("plain", {"x": X})["y"], 7 * X)


def test_labels_and_a_split_beside_the_versions(client, world, root):
    labels = {"labels": {"old": 1, "new": 2}, "split": {"old": 0.5, "new": 0.5}}
    write(root / "plain/labels.json", json.dumps(labels))
    world.eventually(lambda: index(client)["plain", "1"][0] == "READY")
    np.testing.assert_array_equal(client.infer("plain", {"x": X}, "old")["y"], 2 * X)
    np.testing.assert_array_equal(client.infer("plain", {"x": X}, "new")["y"], 3 * X)
    answers = {float(client.infer("plain", {"x": X})["y"][0, 0]) for _ in range(60)}
    assert answers == {2.0, 3.0}


def test_explicit_control_of_a_repository(world, root):
    _, client = world.serve(store_uri=str(root), model_control="explicit")
    assert {state for state, _ in index(client).values()} == {"UNAVAILABLE"}
    client.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name="plain"))
    np.testing.assert_array_equal(client.infer("plain", {"x": X})["y"], 3 * X)

    request = pb.RepositoryModelLoadRequest(model_name="plain")
    request.parameters["config"].string_param = json.dumps({"max_batch_size": 2})
    request.parameters["file:9/model.onnx"].bytes_param = multiplying(9)
    client.RepositoryModelLoad(request)
    np.testing.assert_array_equal(client.infer("plain", {"x": X})["y"], 9 * X)
    assert config(client, "plain").max_batch_size == 2

    request.parameters["file:9/model.onnx"].bytes_param = b"broken"
    with pytest.raises(grpc.RpcError) as caught:
        client.RepositoryModelLoad(request)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "failed to load 'plain'" in caught.value.details()
    np.testing.assert_array_equal(client.infer("plain", {"x": X})["y"], 9 * X)

    client.RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name="plain"))
    assert not client.ModelReady(pb.ModelReadyRequest(name="plain")).ready
    with pytest.raises(grpc.RpcError) as caught:
        client.RepositoryModelLoad(pb.RepositoryModelLoadRequest(model_name="python"))
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_loading_is_not_allowed_while_polling(client):
    for call, request in (
        (client.RepositoryModelLoad, pb.RepositoryModelLoadRequest(model_name="plain")),
        (client.RepositoryModelUnload, pb.RepositoryModelUnloadRequest(model_name="plain")),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            call(request)
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert "not allowed if polling is enabled" in caught.value.details()
