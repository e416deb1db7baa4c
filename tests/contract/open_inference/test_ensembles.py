"""Ensembles of ONNX models over the wire, in a Triton model repository as it stands."""

from __future__ import annotations

import threading

import grpc
import numpy as np
import onnx.parser
import pytest

from wintergarden.wire import open_inference_pb2 as pb

GRAPHS = {
    "scale": """scale (float[n, 2] raw) => (float[n, 2] scaled)
        <float ten = {10}> { scaled = Mul (raw, ten) }""",
    "total": """total (float[n, 2] x) => (float[n, 1] y)
        <int64[1] axis = {1}> { y = ReduceSum <keepdims = 1> (x, axis) }""",
    "sort": """sort (float[n, 2] x) => (float[n, 2] sorted, int64[n, 2] order)
        <int64[1] two = {2}> { sorted, order = TopK <axis = 1> (x, two) }""",
}
ENSEMBLE = """platform: "ensemble" max_batch_size: 8
    input { name: "IMAGE" data_type: TYPE_FP32 dims: 2 }
    output { name: "SUM" data_type: TYPE_FP32 dims: 1 }
    output { name: "ORDER" data_type: TYPE_INT64 dims: 2 }
    ensemble_scheduling {
      step { model_name: "total" model_version: -1
             input_map { key: "x" value: "tens" } output_map { key: "y" value: "SUM" } }
      step { model_name: "scale" model_version: -1
             input_map { key: "raw" value: "IMAGE" } output_map { key: "scaled" value: "tens" } }
      step { model_name: "sort" model_version: -1
             input_map { key: "x" value: "tens" } output_map { key: "order" value: "ORDER" } } }"""


def put(folder, name, version=1, graph=None, config=""):
    staged = folder.parent / f"staged-{name}-{version}"
    staged.mkdir(parents=True)
    if graph:
        header = '<ir_version: 8, opset_import: ["" : 17]>'
        content = onnx.parser.parse_model(header + graph).SerializeToString()
        (staged / "model.onnx").write_bytes(content)
    (folder / name).mkdir(parents=True, exist_ok=True)
    if config:
        (folder / name / "config.pbtxt").write_text(config)
    staged.rename(folder / name / str(version))


@pytest.fixture
def repository(world):
    folder = world.folder / "triton"
    put(folder, "both", config=ENSEMBLE)
    for name, graph in GRAPHS.items():
        put(folder, name, graph=graph)
    return folder


def image(rows):
    return np.random.default_rng(len(rows)).random((len(rows), 2)).astype(np.float32)


def check(client, x):
    got = client.infer("both", {"IMAGE": x}, timeout=20)
    np.testing.assert_allclose(got["SUM"], 10 * x.sum(axis=1, keepdims=True), rtol=1e-5)
    np.testing.assert_array_equal(got["ORDER"], np.argsort(-x, axis=1, kind="stable"))


def test_an_ensemble_answers_as_its_models_would(world, repository):
    _, client = world.serve(store_uri=str(repository))
    metadata = client.ModelMetadata(pb.ModelMetadataRequest(name="both"))
    assert metadata.platform == "ensemble"
    assert [(t.name, t.datatype, list(t.shape)) for t in metadata.outputs] == [
        ("SUM", "FP32", [-1, 1]),
        ("ORDER", "INT64", [-1, 2]),
    ]
    for rows in (1, 3, 8):
        check(client, image(range(rows)))


def test_an_ensembles_output_has_labels_of_its_own(world, repository):
    labelled = ENSEMBLE.replace('name: "ORDER"', 'name: "ORDER" label_filename: "labels.txt"')
    (repository / "both" / "config.pbtxt").write_text(labelled)
    (repository / "both" / "labels.txt").write_text("left\nright\n")
    _, client = world.serve(store_uri=str(repository))
    request = world.request("both", {"IMAGE": np.array([[1, 2]], np.float32)})
    request.outputs.add(name="ORDER").parameters["classification"].int64_param = 1
    (classes,) = world.arrays(client.ModelInfer(request)).values()
    assert classes.tolist() == [[b"1:0:left"]]


def test_many_callers_and_the_statistics_of_all_models(world, repository):
    _, client = world.serve(store_uri=str(repository))
    faults = []

    def call(number):
        try:
            for rows in (1, 2, 3, 4, 5):
                check(client, image(range(rows + number % 3)))
        except AssertionError as error:
            faults.append(error)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not faults

    def counts(name):
        return client.ModelStatistics(pb.ModelStatisticsRequest(name=name)).model_stats[0]

    for name in ("both", *GRAPHS):
        # Counted once answered: the time that answering took is part of it.
        world.eventually(lambda name=name: counts(name).inference_stats.success.count >= 40)
        assert counts(name).inference_stats.success.count == 40
        assert counts(name).execution_count <= 40


def test_an_error_names_the_step(world, repository):
    put(
        repository,
        "picky",
        graph="""picky (float[n, 2] x) => (float[n, 1] y)
            <float[3] known = {1, 2, 3}, int64[1] axis = {1}>
            { index = Cast <to = 7> (x)  found = Gather (known, index)
              y = ReduceSum <keepdims = 1> (found, axis) }""",
    )
    put(
        repository,
        "fails",
        config=ENSEMBLE.replace('"total"', '"picky"').replace('"both"', '"fails"'),
    )
    _, client = world.serve(store_uri=str(repository))
    with pytest.raises(grpc.RpcError) as failed:
        client.infer("fails", {"IMAGE": image(range(2))}, timeout=20)
    assert "in ensemble 'fails', step 'picky'" in failed.value.details()


def test_an_ensemble_of_models_that_are_not_there_is_left_out(world, repository):
    put(repository, "lonely", config=ENSEMBLE.replace('"sort"', '"nowhere"'))
    _, client = world.serve(store_uri=str(repository))
    index = client.RepositoryIndex(pb.RepositoryIndexRequest())
    (entry,) = [m for m in index.models if m.name == "lonely"]
    assert entry.state != "READY"
    assert "nowhere" in entry.reason
    check(client, image(range(2)))


def test_composing_models_are_replaced_under_way(world, repository):
    _, client = world.serve(store_uri=str(repository))
    x = image(range(2))
    check(client, x)
    put(repository, "scale", 2, GRAPHS["scale"].replace("{10}", "{100}"))

    def is_new():
        got = client.infer("both", {"IMAGE": x}, timeout=20)["SUM"]
        return bool(np.allclose(got, 100 * x.sum(axis=1, keepdims=True), rtol=1e-5))

    world.eventually(is_new)


def test_a_sequence_goes_through_an_ensemble(world, repository):
    put(
        repository,
        "accumulator",
        graph="""accumulator (float[n, 2] x, float[n, 2] past) => (float[n, 2] y, float[n, 2] now)
            { now = Add (x, past)  y = Identity (now) }""",
        config="""max_batch_size: 8 sequence_batching { state {
            input_name: "past" output_name: "now" data_type: TYPE_FP32 dims: 2 } }""",
    )
    put(
        repository,
        "sum_up",
        config="""platform: "ensemble" max_batch_size: 8
            input { name: "IN" data_type: TYPE_FP32 dims: 2 }
            output { name: "OUT" data_type: TYPE_FP32 dims: 2 }
            ensemble_scheduling {
              step { model_name: "scale" model_version: -1
                input_map { key: "raw" value: "IN" } output_map { key: "scaled" value: "t" } }
              step { model_name: "accumulator" model_version: -1
                input_map { key: "x" value: "t" } output_map { key: "y" value: "OUT" } } }""",
    )
    _, client = world.serve(store_uri=str(repository))
    values = image(range(5))
    for number in (1, 2):
        total = np.zeros((1, 2), np.float32)
        for i, row in enumerate(values):
            request = world.request("sum_up", {"IN": row[None]})
            request.parameters["sequence_id"].int64_param = number
            request.parameters["sequence_start"].bool_param = i == 0
            request.parameters["sequence_end"].bool_param = i == len(values) - 1
            total += 10 * row
            got = world.arrays(client.ModelInfer(request, timeout=20))["OUT"]
            np.testing.assert_allclose(got, total, rtol=1e-5)
