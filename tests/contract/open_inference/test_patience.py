"""Requests that cannot wait, will not wait, or find the queue full."""

import time
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
import pytest

from services.inference.app import App
from services.inference.scheduling.statistics import Failure
from wintergarden.service.testing import details_of
from wintergarden.wire import open_inference_pb2 as pb

STEPS = 1_000_000  # about 0.5 s


@dataclass
class Patient:
    """A model that answers slowly, one request at a time, with room for three to wait."""

    app: App
    client: Any
    request: pb.ModelInferRequest

    @property
    def scheduler(self):
        return self.app.repository.resolve("patient").scheduler

    @property
    def taken_on(self):
        return sum(len(admission.calls) for admission in self.app.server.admissions)

    def ask(self):
        return self.client.ModelInfer.future(self.request)


@pytest.fixture
def patient(world):
    world.publish("patient")
    app, client = world.serve(inline_run_ms=0, max_batch_rows=1, max_waiting=3)
    return Patient(app, client, world.request("patient", {"x": np.array([[STEPS]], np.float32)}))


def keep_busy(world, patient):
    """A request that is being run, so that whatever comes next has to wait."""
    call = patient.ask()
    world.eventually(lambda: patient.taken_on == 1)
    time.sleep(0.05)
    world.eventually(lambda: patient.scheduler.waiting == 0)
    assert not call.done()
    return call


def executions(scheduler):
    return scheduler.statistics.read().executions


def test_a_full_queue_refuses_at_once_and_says_when_to_come_again(patient):
    calls = [patient.ask() for _ in range(12)]
    refused = []
    for call in calls:
        try:
            call.result()
        except grpc.RpcError as error:
            refused.append(error)
    assert 0 < len(refused) <= 9
    for error in refused:
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "3 requests wait already" in error.details()
        assert details_of(error)["RetryInfo"].retry_delay.ToMilliseconds() > 0


def test_what_a_full_queue_refuses_is_not_taken_on(world, patient):
    patient.client.ModelInfer(patient.request)  # from now on its like is known
    first = keep_busy(world, patient)
    waiting = [patient.ask() for _ in range(3)]
    world.eventually(lambda: patient.scheduler.waiting == 3)

    def turned_away():
        return sum(a.refused["RESOURCE_EXHAUSTED"] for a in patient.app.server.admissions)

    # The queue is searched anew every ten milliseconds, by requests that are taken on for it.
    refused = 0
    while not turned_away():
        error = patient.ask().exception()
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "3 requests wait already" in error.details()
        assert details_of(error)["RetryInfo"].retry_delay.ToMilliseconds() > 0
        refused += 1
        assert not first.done(), f"{refused} refused, none of them at once"
    assert patient.scheduler.statistics.read().failures == {Failure.REJECTED: refused}
    for call in (first, *waiting):
        call.result()
    assert patient.client.ModelInfer(patient.request)


def test_a_request_whose_deadline_passes_in_the_queue_never_runs(world, patient):
    first = keep_busy(world, patient)
    with pytest.raises(grpc.RpcError) as caught:
        patient.client.ModelInfer(patient.request, timeout=0.05)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    first.result()
    assert patient.client.ModelInfer(patient.request)
    world.eventually(lambda: executions(patient.scheduler) == 2)


def test_a_cancelled_request_leaves_the_queue(world, patient):
    first = keep_busy(world, patient)
    waiting = [patient.ask() for _ in range(3)]
    world.eventually(lambda: patient.scheduler.waiting == 3)
    for call in waiting:
        call.cancel()
    world.eventually(lambda: patient.taken_on == 1)  # cancellations travel, too
    assert patient.client.ModelInfer(patient.request)  # cancelled ones have made room
    first.result()
    world.eventually(lambda: executions(patient.scheduler) == 2)


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
    patient = Patient(app, client, world.request("patient", {"x": np.float32([[STEPS]])}))
    calls = [patient.ask() for _ in range(4)]
    world.eventually(lambda: patient.taken_on == 4)
    app.stop(60)
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
