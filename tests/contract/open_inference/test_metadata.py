import grpc
import pytest

import wintergarden
from wintergarden.wire import open_inference_pb2 as pb


def test_the_server_is_live_and_ready_even_with_nothing_to_serve(world):
    _, client = world.serve()
    assert client.ServerLive(pb.ServerLiveRequest()).live
    assert client.ServerReady(pb.ServerReadyRequest()).ready
    assert not client.RepositoryIndex(pb.RepositoryIndexRequest()).models


def test_server_metadata(served):
    metadata = served.client.ServerMetadata(pb.ServerMetadataRequest())
    assert (metadata.name, metadata.version) == ("wintergarden", wintergarden.__version__)
    assert "binary_tensor_data" in metadata.extensions


def test_model_metadata_is_the_graphs(served):
    metadata = served.client.ModelMetadata(pb.ModelMetadataRequest(name="classifier"))
    assert (metadata.name, list(metadata.versions)) == ("classifier", ["1"])
    assert metadata.platform == "onnxruntime_onnx"
    assert [(t.name, t.datatype, list(t.shape)) for t in metadata.inputs] == [
        ("x", "FP32", [-1, 4])
    ]
    assert [(t.name, t.datatype, list(t.shape)) for t in metadata.outputs] == [
        ("logits", "FP32", [-1, 3]),
        ("probabilities", "FP32", [-1, 3]),
    ]


@pytest.mark.parametrize("version", ["", "1", "-1"])
def test_a_served_model_is_ready(served, version):
    request = pb.ModelReadyRequest(name="classifier", version=version)
    assert served.client.ModelReady(request).ready


@pytest.mark.parametrize(("name", "version"), [("nobody", ""), ("classifier", "9")])
def test_what_is_unknown_is_not_ready_and_no_error(served, name, version):
    request = pb.ModelReadyRequest(name=name, version=version)
    assert not served.client.ModelReady(request).ready


def test_metadata_of_an_unknown_model_names_those_served(served):
    with pytest.raises(grpc.RpcError) as caught:
        served.client.ModelMetadata(pb.ModelMetadataRequest(name="nobody"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert "no model 'nobody'; models are 'centred', 'classifier'" in caught.value.details()


def test_metadata_of_an_unknown_version_names_those_there_are(served):
    with pytest.raises(grpc.RpcError) as caught:
        served.client.ModelMetadata(pb.ModelMetadataRequest(name="sum", version="2"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert caught.value.details() == "model 'sum' has no version 2; versions are 1"


def test_the_index_lists_every_version(served):
    index = served.client.RepositoryIndex(pb.RepositoryIndexRequest())
    assert {(m.name, m.version, m.state, m.reason) for m in index.models} == {
        (name, "1", "READY", "") for name in served.world.store.list_models()
    }


def test_there_is_one_repository_without_a_name(served):
    with pytest.raises(grpc.RpcError) as caught:
        served.client.RepositoryIndex(pb.RepositoryIndexRequest(repository_name="other"))
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


def test_metrics_have_tritons_names(served):
    served.client.infer("sum", {n: served.world.integers([[1, 2]]) for n in "ab"})
    text = served.world.metrics(served.app)
    for name in (
        "nv_inference_request_success",
        "nv_inference_count",
        "nv_inference_exec_count",
        "nv_inference_request_duration_us",
        "nv_inference_queue_duration_us",
        "nv_inference_compute_infer_duration_us",
        "wintergarden_queue_depth",
        "wintergarden_load_seconds",
    ):
        assert f'{name}{{model="sum",version="1"}} ' in text
    assert 'wintergarden_batch_rows_bucket{le="+Inf",model="sum",version="1"}' in text
    assert 'wintergarden_model_versions{state="ready"} 6.0' in text
