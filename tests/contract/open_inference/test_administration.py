"""The calls that change the server: what they change, and that each is off until allowed."""

import json

import grpc
import numpy as np
import onnx.parser
import pytest

from wintergarden.wire import open_inference_pb2 as pb

SCALED = """<ir_version: 8, opset_import: ["" : 17]>
scaled (float[n, 2] x) => (float[n, 2] y) <float k = {%d}> { y = Mul (x, k) }"""
X = np.array([[1, 2]], np.float32)


def scaled(factor):
    return onnx.parser.parse_model(SCALED % factor).SerializeToString()


def load(client, name, config=None, **files):
    request = pb.RepositoryModelLoadRequest(model_name=name)
    if config is not None:
        request.parameters["config"].string_param = json.dumps(config)
    for version, content in files.items():
        path = f"file:{version.removeprefix('v')}/model.onnx"
        request.parameters[path].bytes_param = content
    return client.RepositoryModelLoad(request)


def unload(client, name):
    return client.RepositoryModelUnload(pb.RepositoryModelUnloadRequest(model_name=name))


def refusal(call, request):
    with pytest.raises(grpc.RpcError) as caught:
        call(request)
    return caught.value


@pytest.fixture
def explicit(world):
    _, client = world.serve(model_control="explicit")
    return client


def test_a_model_sent_with_the_request_is_served_until_it_is_unloaded(explicit):
    load(explicit, "scaled", v1=scaled(2), v3=scaled(5))
    assert explicit.infer("scaled", {"x": X})["y"].tolist() == [[5, 10]]
    unload(explicit, "scaled")
    error = refusal(explicit.ModelMetadata, pb.ModelMetadataRequest(name="scaled"))
    assert error.code() in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNAVAILABLE)


def test_a_new_load_replaces_the_old_and_a_failed_one_does_not(explicit):
    load(explicit, "scaled", v1=scaled(2))
    load(explicit, "scaled", v1=scaled(3))
    assert explicit.infer("scaled", {"x": X})["y"].tolist() == [[3, 6]]
    with pytest.raises(grpc.RpcError) as caught:
        load(explicit, "scaled", v1=b"no model")
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "failed to load 'scaled'" in caught.value.details()
    assert explicit.infer("scaled", {"x": X})["y"].tolist() == [[3, 6]]


def test_a_configuration_sent_with_the_request_is_in_force(explicit):
    config = {"backend": "onnxruntime", "max_batch_size": 4, "parameters": {}}
    load(explicit, "scaled", config, v1=scaled(2))
    answered = explicit.ModelConfig(pb.ModelConfigRequest(name="scaled")).config
    assert (answered.name, answered.max_batch_size) == ("scaled", 4)
    assert answered.platform == "onnxruntime_onnx"
    assert [(t.name, list(t.dims)) for t in answered.input] == [("x", [2])]
    with pytest.raises(grpc.RpcError) as caught:
        load(explicit, "scaled", {"backend": "python"}, v1=scaled(2))
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "convert the model to ONNX" in caught.value.details()


@pytest.mark.parametrize("name", ["../up", "/etc/model.onnx", "1/../../up.onnx", "x/model.onnx"])
def test_a_file_that_leads_out_is_refused(explicit, name):
    request = pb.RepositoryModelLoadRequest(model_name="scaled")
    request.parameters[f"file:{name}"].bytes_param = scaled(2)
    assert refusal(explicit.RepositoryModelLoad, request).code() is grpc.StatusCode.INVALID_ARGUMENT


def test_a_parameter_nobody_knows_is_refused(explicit):
    request = pb.RepositoryModelLoadRequest(model_name="scaled")
    request.parameters["speed"].int64_param = 3
    error = refusal(explicit.RepositoryModelLoad, request)
    assert "parameter 'speed' with int64_param; allowed are 'config'" in error.details()
    request = pb.RepositoryModelUnloadRequest(model_name="scaled")
    request.parameters["unload_dependents"].string_param = "yes"
    error = refusal(explicit.RepositoryModelUnload, request)
    assert "allowed is 'unload_dependents' (bool_param)" in error.details()


def test_loading_is_off_where_the_store_is_watched(served):
    client = served.client
    error = refusal(
        client.RepositoryModelLoad, pb.RepositoryModelLoadRequest(model_name="classifier")
    )
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "explicit" in error.details()
    error = refusal(
        client.RepositoryModelUnload, pb.RepositoryModelUnloadRequest(model_name="classifier")
    )
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION


def test_statistics_count_what_was_answered(world):
    world.publish("sum")
    _, client = world.serve()
    for rows in (1, 1, 3):
        client.infer("sum", {n: world.integers([[1, 2]] * rows) for n in "ab"})
    (statistics,) = client.ModelStatistics(pb.ModelStatisticsRequest(name="sum")).model_stats
    assert (statistics.name, statistics.version) == ("sum", "1")
    assert (statistics.inference_count, statistics.execution_count) == (5, 3)
    assert statistics.inference_stats.success.count == 3
    assert statistics.inference_stats.compute_infer.ns > 0
    assert {(b.batch_size, b.compute_infer.count) for b in statistics.batch_stats} == {
        (1, 2),
        (3, 1),
    }
    assert statistics.last_inference > 0
    assert len(client.ModelStatistics(pb.ModelStatisticsRequest()).model_stats) == 1
    error = refusal(client.ModelStatistics, pb.ModelStatisticsRequest(name="nobody"))
    assert error.code() is grpc.StatusCode.NOT_FOUND


def test_shared_memory_is_off_until_it_is_allowed(served):
    client = served.client
    for call, request in (
        (client.SystemSharedMemoryStatus, pb.SystemSharedMemoryStatusRequest()),
        (client.SystemSharedMemoryRegister, pb.SystemSharedMemoryRegisterRequest(name="a")),
        (client.SystemSharedMemoryUnregister, pb.SystemSharedMemoryUnregisterRequest()),
    ):
        error = refusal(call, request)
        assert error.code() is grpc.StatusCode.UNIMPLEMENTED
        assert "--system-shared-memory" in error.details()


def test_cuda_shared_memory_needs_a_gpu(served):
    client = served.client
    assert not client.CudaSharedMemoryStatus(pb.CudaSharedMemoryStatusRequest()).regions
    client.CudaSharedMemoryUnregister(pb.CudaSharedMemoryUnregisterRequest())
    error = refusal(
        client.CudaSharedMemoryRegister, pb.CudaSharedMemoryRegisterRequest(name="a", byte_size=4)
    )
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "GPU" in error.details()


def trace(client, model="", **settings):
    request = pb.TraceSettingRequest(model_name=model)
    for name, value in settings.items():
        request.settings[name].value.extend(value)
    response = client.TraceSetting(request)
    return {name: list(value.value) for name, value in response.settings.items()}


def test_traces_are_off_until_there_is_a_directory_for_them(served):
    assert trace(served.client)["trace_level"] == ["OFF"]
    request = pb.TraceSettingRequest()
    request.settings["trace_level"].value.append("TIMESTAMPS")
    error = refusal(served.client.TraceSetting, request)
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "--trace-directory" in error.details()


def test_every_other_request_is_traced(world, tmp_path):
    world.publish("sum")
    traces = tmp_path / "traces"
    traces.mkdir()
    app, client = world.serve(trace_directory=traces)
    trace(client, trace_level=["TIMESTAMPS"], trace_rate=["2"], log_frequency=["1"])
    for _ in range(4):
        client.infer("sum", {n: world.integers([[1, 2]]) for n in "ab"})
    trace(client, trace_level=["OFF"])
    world.eventually(lambda: len(list(traces.iterdir())) == 2)
    app.stop(0)
    for file in traces.iterdir():
        events = json.loads(file.read_text())
        assert events[0]["model_name"] == "sum"
        names = [t["name"] for e in events for t in e.get("timestamps", ())]
        assert names[0] == "REQUEST_START"
        assert names[-1] == "REQUEST_END"
        assert {"QUEUE_START", "COMPUTE_START", "COMPUTE_INPUT_END", "COMPUTE_OUTPUT_START"} < {
            *names
        }


def test_what_is_logged_can_be_changed(world):
    _, client = world.serve()
    request = pb.LogSettingsRequest()
    before = client.LogSettings(request).settings
    try:
        request.settings["log_verbose_level"].uint32_param = 1
        request.settings["log_info"].bool_param = False
        after = client.LogSettings(request).settings
        assert after["log_verbose_level"].uint32_param == 1
        assert not after["log_info"].bool_param
    finally:
        request.settings["log_verbose_level"].uint32_param = before[
            "log_verbose_level"
        ].uint32_param
        request.settings["log_info"].bool_param = before["log_info"].bool_param
        client.LogSettings(request)
    bad = pb.LogSettingsRequest()
    bad.settings["log_colour"].string_param = "green"
    error = refusal(client.LogSettings, bad)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "allowed: log_file" in error.details()


def test_the_metadata_names_the_extensions(served, world):
    extensions = served.client.ServerMetadata(pb.ServerMetadataRequest()).extensions
    assert {"sequence", "statistics", "trace", "logging", "model_configuration"} <= {*extensions}
    assert "system_shared_memory" not in extensions
    _, client = world.serve(system_shared_memory=True)
    assert "system_shared_memory" in client.ServerMetadata(pb.ServerMetadataRequest()).extensions
