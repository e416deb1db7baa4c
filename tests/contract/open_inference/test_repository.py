"""Versions come, go, and turn out to be broken, while requests go on."""

import threading
import time

import grpc
import numpy as np
import pytest

from wintergarden.errors import FailedPrecondition
from wintergarden.store.labels import Labels
from wintergarden.wire import open_inference_pb2 as pb

X = np.ones((1, 4), np.float32)
NEGATIVE = """negative (float[n, 4] x) => (float[n, 4] logits) { logits = Neg (x) }"""
POSITIVE = """positive (float[n, 4] x) => (float[n, 4] logits) { logits = Identity (x) }"""


def state(client, model, version):
    index = client.RepositoryIndex(pb.RepositoryIndexRequest())
    return next(
        ((m.state, m.reason) for m in index.models if (m.name, m.version) == (model, str(version))),
        ("", ""),
    )


def code(client, *arguments):
    with pytest.raises(grpc.RpcError) as caught:
        client.infer(*arguments)
    return caught.value.code()


def truncated(world, version):
    path = world.file("m", version)
    path.write_bytes(path.read_bytes()[:-10])


def tampered(world, version):
    path = world.file("m", version)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def missing(world, version):
    world.file("m", version).unlink()


def no_manifest(world, version):
    world.file("m", version, "manifest.json").write_text("{")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (truncated, "model.onnx of m/2 is corrupt"),
        (tampered, "model.onnx of m/2 is corrupt"),
        (missing, "model.onnx of m/2 is missing"),
        (no_manifest, "manifest.json of m/2 is not a manifest"),
    ],
)
def test_a_spoilt_version_is_not_served_and_the_previous_one_is(world, spoil, reason):
    world.publish("m", NEGATIVE)
    spoil(world, world.publish("m", POSITIVE))
    _, client = world.serve()
    assert state(client, "m", 1) == ("READY", "")
    assert state(client, "m", 2)[0] == "UNAVAILABLE"
    assert reason in state(client, "m", 2)[1]
    np.testing.assert_array_equal(client.infer("m", {"x": X})["logits"], -X)
    assert code(client, "m", {"x": X}, "2") is grpc.StatusCode.UNAVAILABLE


def test_other_answers_than_the_golden_ones_keep_a_version_out(world):
    world.publish("m", NEGATIVE, golden_shift=0)
    _, client = world.serve()
    world.publish("m", POSITIVE, golden_shift=0.25)
    world.eventually(lambda: state(client, "m", 2)[0] == "UNAVAILABLE")
    assert "golden output 'logits' differs by 0.25" in state(client, "m", 2)[1]
    np.testing.assert_array_equal(client.infer("m", {"x": X})["logits"], -X)


def test_the_only_version_is_broken(world):
    truncated(world, world.publish("m", NEGATIVE))
    _, client = world.serve()
    with pytest.raises(grpc.RpcError) as caught:
        client.infer("m", {"x": X})
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "model 'm' has no version to serve: version 1: model.onnx" in caught.value.details()
    assert not client.ModelReady(pb.ModelReadyRequest(name="m")).ready
    assert client.ServerReady(pb.ServerReadyRequest()).ready


def test_a_model_appears(world):
    _, client = world.serve()
    assert code(client, "m", {"x": X}) is grpc.StatusCode.NOT_FOUND
    world.publish("m", NEGATIVE)
    world.eventually(lambda: client.infer("m", {"x": X}))


def test_versions_can_be_asked_for_by_number(world):
    world.publish("m", NEGATIVE)
    world.publish("m", POSITIVE)
    _, client = world.serve()
    np.testing.assert_array_equal(client.infer("m", {"x": X}, "1")["logits"], -X)
    np.testing.assert_array_equal(client.infer("m", {"x": X}, "2")["logits"], X)
    np.testing.assert_array_equal(client.infer("m", {"x": X})["logits"], X)


def test_only_the_latest_versions_are_kept(world):
    for _ in range(3):
        world.publish("m", NEGATIVE)
    _, client = world.serve(versions_served=1)
    assert state(client, "m", 3) == ("READY", "")
    assert "not among the latest 1" in state(client, "m", 1)[1]
    ready = client.RepositoryIndex(pb.RepositoryIndexRequest(ready=True)).models
    assert [m.version for m in ready] == ["3"]


def test_a_deleted_version_is_gone_and_the_one_before_serves(world):
    world.publish("m", NEGATIVE)
    world.publish("m", POSITIVE)
    _, client = world.serve()
    world.store.delete("m", 2)
    world.eventually(lambda: state(client, "m", 2) == ("", ""))
    np.testing.assert_array_equal(client.infer("m", {"x": X})["logits"], -X)
    world.store.delete("m", None)
    world.eventually(lambda: state(client, "m", 1) == ("", ""))
    assert code(client, "m", {"x": X}) is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize(("inline_run_ms", "swaps"), [(0, 10), (1000, 50)])
def test_versions_change_under_load_and_no_request_fails(world, inline_run_ms, swaps):
    """Published, replaced and evicted in turn: every answer is one of the two models'."""
    world.publish("m", NEGATIVE)
    _, client = world.serve(versions_served=1, inline_run_ms=inline_run_ms)
    stopping, answers, errors = threading.Event(), [], []

    def ask():
        while not stopping.is_set():
            try:
                answers.append(float(client.infer("m", {"x": X})["logits"][0, 0]))
            except grpc.RpcError as error:
                errors.append(error)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for version in range(2, swaps + 2):
        graph = POSITIVE if version % 2 == 0 else NEGATIVE
        assert world.publish("m", graph, golden_shift=0.0) == version
        world.eventually(lambda version=version: state(client, "m", version)[0] == "READY")
    stopping.set()
    for thread in threads:
        thread.join()
    assert not errors
    assert set(answers) == {-1.0, 1.0}


def test_a_deleted_version_answers_what_it_was_given(world):
    world.publish("patient")
    app, client = world.serve(inline_run_ms=0)
    queue = app.repository.resolve("patient").scheduler
    request = world.request("patient", {"x": np.array([[2_000_000]], np.float32)})
    calls = [client.ModelInfer.future(request)]
    time.sleep(0.2)  # it runs, and the others wait for it
    calls += [client.ModelInfer.future(request) for _ in range(2)]
    world.eventually(lambda: queue.waiting == 2)
    world.store.delete("patient", 1)
    world.eventually(lambda: state(client, "patient", 1)[0] in ("UNLOADING", ""))
    for call in calls:
        assert world.arrays(call.result())["y"] == 2_000_000
    world.eventually(lambda: state(client, "patient", 1)[0] == "")


def test_labels_of_the_store_choose_the_version(world):
    world.publish("m", NEGATIVE)
    world.publish("m", POSITIVE)
    world.publish("m", POSITIVE)
    _, client = world.serve(versions_served=1)
    assert "not among the latest 1" in state(client, "m", 1)[1]
    wanted = Labels(labels={"stable": 1, "next": 3}, split={"stable": 1.0})
    world.store.set_labels("m", wanted)
    world.eventually(lambda: client.infer("m", {"x": X})["logits"][0, 0] == -1)
    np.testing.assert_array_equal(client.infer("m", {"x": X}, "next")["logits"], X)
    np.testing.assert_array_equal(client.infer("m", {"x": X}, "stable")["logits"], -X)
    assert code(client, "m", {"x": X}, "beta") is grpc.StatusCode.INVALID_ARGUMENT
    shares = {"split": {"stable": 0.0, "next": 1.0}, "revision": 1}
    world.store.set_labels("m", wanted.model_copy(update=shares))
    world.eventually(lambda: client.infer("m", {"x": X})["logits"][0, 0] == 1)
    with pytest.raises(FailedPrecondition, match="is called stable"):
        world.store.delete("m", 1)


def test_a_configuration_in_the_store_is_taken_up_while_serving(world):
    world.publish("m", POSITIVE)
    _, client = world.serve()

    def configured():
        return client.ModelConfig(pb.ModelConfigRequest(name="m")).config

    assert configured().max_batch_size == 64
    world.store.write_configuration("m", b"max_batch_size: 3 dynamic_batching { }")
    world.eventually(lambda: configured().max_batch_size == 3)
    world.store.write_configuration("m", b'backend: "python"')
    world.eventually(lambda: "is not served here" in state(client, "m", 1)[1])
    np.testing.assert_array_equal(client.infer("m", {"x": X})["logits"], X)
