"""Requests that cannot wait, will not wait, or find the queue full."""

import time

import grpc
import numpy as np
import pytest

from wintergarden.service.testing import details_of
from wintergarden.wire import open_inference_pb2 as pb

STEPS = 1_000_000  # about 0.5 s


@pytest.fixture
def patient(world):
    """A model that answers slowly, one request at a time, with room for three to wait."""
    world.publish("patient")
    app, client = world.serve(inline_run_ms=0, max_batch_rows=1, max_waiting=3)
    (model,) = app.repository.models()
    request = world.request("patient", {"x": np.array([[STEPS]], np.float32)})
    return client, request, model.engine


def keep_busy(client, request, engine):
    """A request that is being run, so that whatever comes next has to wait."""
    call = client.ModelInfer.future(request)
    time.sleep(0.1)
    assert engine.waiting == 0
    assert not call.done()
    return call


def executions(engine):
    return engine.statistics.read().executions


def test_a_full_queue_refuses_at_once_and_says_when_to_come_again(patient):
    client, request, _ = patient
    started = time.monotonic()
    calls = [client.ModelInfer.future(request) for _ in range(12)]
    refused = []
    for call in calls:
        try:
            call.result()
        except grpc.RpcError as error:
            refused.append(error)
    assert time.monotonic() - started < 10
    assert 6 <= len(refused) <= 9
    for error in refused:
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "3 requests wait already" in error.details()
        assert details_of(error)["RetryInfo"].retry_delay.ToMilliseconds() > 0


def test_a_request_whose_deadline_passes_in_the_queue_never_runs(world, patient):
    client, request, engine = patient
    first = keep_busy(client, request, engine)
    with pytest.raises(grpc.RpcError) as caught:
        client.ModelInfer(request, timeout=0.05)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    first.result()
    assert client.ModelInfer(request)
    world.eventually(lambda: executions(engine) == 2)


def test_a_cancelled_request_leaves_the_queue(world, patient):
    client, request, engine = patient
    first = keep_busy(client, request, engine)
    waiting = [client.ModelInfer.future(request) for _ in range(3)]
    world.eventually(lambda: engine.waiting == 3)
    for call in waiting:
        call.cancel()
    time.sleep(0.05)  # cancellations travel, too
    assert client.ModelInfer(request)  # cancelled ones have made room
    first.result()
    world.eventually(lambda: executions(engine) == 2)


def test_other_models_answer_while_one_is_busy(world):
    world.publish("patient")
    world.publish("sum")
    _, client = world.serve(inline_run_ms=1)
    slow = world.request("patient", {"x": np.full((65, 1), STEPS, np.float32)})
    busy = client.ModelInfer.future(slow)  # too many rows to run inline
    for _ in range(5):
        client.infer("sum", {n: world.integers([[1, 2]]) for n in "ab"}, timeout=2)
    assert not busy.done()
    busy.result()


def test_a_stopping_service_answers_what_it_has_taken_on(world):
    world.publish("patient")
    app, client = world.serve(inline_run_ms=0, max_batch_rows=1)
    request = world.request("patient", {"x": np.array([[STEPS]], np.float32)})
    calls = [client.ModelInfer.future(request) for _ in range(8)]
    world.eventually(lambda: sum(len(a.calls) for a in app.server.admissions) == 8)
    app.stop(30)
    for call in calls:
        assert world.arrays(call.result())["y"] == STEPS


def test_a_request_that_is_too_long(world):
    world.publish("classifier")
    _, client = world.serve(max_request_bytes=10_000)
    request = world.request("classifier", {"x": np.zeros((1000, 4), np.float32)})
    with pytest.raises(grpc.RpcError) as caught:
        client.ModelInfer(request)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert client.ServerLive(pb.ServerLiveRequest()).live
