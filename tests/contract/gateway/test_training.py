"""TrainingService through a running gateway, on a real Valkey."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from tests.contract.gateway.catalogue import CATALOGUE
from wintergarden.jobs import LogWritten, MetricsReported, Worker
from wintergarden.service.testing import details_of
from wintergarden.wire import training_pb2 as pb
from wintergarden.wire.pool import methods

METHODS = methods("wintergarden.v1.TrainingService")


@pytest.fixture
def deployment(deploy: Callable[[str], Any]) -> Any:
    deployed = deploy("socket")
    deployed.jobs.publish_catalogue(CATALOGUE)
    return deployed


def ask(deployment: Any, name: str, timeout: float = 20, **fields: Any) -> Any:
    method = METHODS[name]
    call = deployment.channel.unary_unary(
        method.path, method.request.SerializeToString, method.response.FromString
    )
    return call(method.request(**fields), timeout=timeout)


def watch(deployment: Any, job_id: str, cursor: str = "") -> Iterator[Any]:
    call = deployment.channel.unary_stream(
        METHODS["WatchJob"].path,
        pb.WatchJobRequest.SerializeToString,
        pb.WatchJobResponse.FromString,
    )
    return call(pb.WatchJobRequest(job_id=job_id, cursor=cursor), timeout=30)


def submit(deployment: Any, request_id: str = "", **fields: Any) -> Any:
    spec = pb.TrainingSpec(**{"architecture": "lenet5", "dataset": "digits", **fields})
    return ask(deployment, "SubmitTraining", training=spec, request_id=request_id).job


def refusal(call: Callable[[], Any]) -> Any:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value


def test_what_can_be_trained_is_what_the_trainers_registered(deployment: Any) -> None:
    (architecture,) = ask(deployment, "DescribeArchitectures").architectures
    assert (architecture.name, list(architecture.datasets)) == ("lenet5", ["digits"])
    schema = json.loads(architecture.hyperparameters_schema_json)
    assert schema["properties"]["epochs"]["maximum"] == 200
    (dataset,) = ask(deployment, "DescribeDatasets").datasets
    assert list(dataset.input_shape) == [1, 8, 8]
    assert dict(dataset.split_sizes) == {"train": 1437, "test": 360}


def test_a_job_from_submission_to_its_end(deployment: Any) -> None:
    job = submit(deployment, hyperparameters_json='{"epochs": 3}', seed=7)
    assert job.state == pb.JOB_STATE_QUEUED
    assert job.queue_position == 1
    assert job.training.model == "lenet5-digits"
    assert json.loads(job.training.hyperparameters_json) == {"epochs": 3}
    stream = watch(deployment, job.id)

    attempt = deployment.jobs.claim(job.id, "worker-1", 30.0)
    attempt.set_progress(0.5, "train")
    attempt.emit([(MetricsReported({"loss": 0.25}), 10), (LogWritten("info", "half way"), 10)])
    running = ask(deployment, "GetJob", job_id=job.id).job
    assert (running.state, running.phase, running.progress) == (pb.JOB_STATE_RUNNING, "train", 0.5)
    assert (running.worker, running.attempt) == ("worker-1", 1)
    assert attempt.offer(4)
    attempt.succeed("lenet5-digits", 4, {"test_accuracy": 0.99})

    events = [message.event for message in stream]
    assert [e.WhichOneof("event") for e in events if e.WhichOneof("event") != "progress"] == [
        "state", "state", "metrics", "log", "state",
    ]  # fmt: skip
    states = [e.state.state for e in events if e.WhichOneof("event") == "state"]
    assert states == [pb.JOB_STATE_QUEUED, pb.JOB_STATE_RUNNING, pb.JOB_STATE_SUCCEEDED]
    metrics = next(e for e in events if e.WhichOneof("event") == "metrics")
    assert (dict(metrics.metrics.values), metrics.step, metrics.fence) == ({"loss": 0.25}, 10, 1)
    assert abs(metrics.time.ToSeconds() - time.time()) < 60

    # From a cursor, each once; and at the end of all events, nothing.
    again = [m.event.cursor for m in watch(deployment, job.id, events[1].cursor)]
    assert again == [e.cursor for e in events[2:]]
    assert list(watch(deployment, job.id, events[-1].cursor)) == []

    ended = ask(deployment, "GetJob", job_id=job.id).job
    assert (ended.model_name, ended.model_version) == ("lenet5-digits", 4)
    assert dict(ended.metrics) == {"test_accuracy": 0.99}
    assert ended.submitted_at.ToSeconds() <= ended.started_at.ToSeconds()
    assert ended.started_at.ToSeconds() <= ended.ended_at.ToSeconds()


def test_one_request_id_one_job(deployment: Any) -> None:
    first = submit(deployment, "same-1", seed=1)
    assert submit(deployment, "same-1", seed=1).id == first.id
    error = refusal(lambda: submit(deployment, "same-1", seed=2))
    assert error.code() == grpc.StatusCode.ALREADY_EXISTS
    assert len(ask(deployment, "ListJobs").jobs) == 1


def test_list_and_cancel(deployment: Any) -> None:
    jobs = [submit(deployment, seed=i).id for i in range(3)]
    cancelled = ask(deployment, "CancelJob", job_id=jobs[1]).job
    assert cancelled.state == pb.JOB_STATE_CANCELLED
    assert {j.id for j in ask(deployment, "ListJobs").jobs} == set(jobs)
    queued = ask(deployment, "ListJobs", states=[pb.JOB_STATE_QUEUED]).jobs
    assert {j.id for j in queued} == {jobs[0], jobs[2]}
    assert len(ask(deployment, "ListJobs", limit=1).jobs) == 1
    for fields in ({"limit": -1}, {"limit": 1001}, {"states": [0]}, {"states": [77]}):
        error = refusal(lambda fields=fields: ask(deployment, "ListJobs", **fields))
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("fields", "code", "says"),
    [
        ({"architecture": "lenet6"}, "NOT_FOUND", "there are lenet5"),
        ({"dataset": "imagenet"}, "NOT_FOUND", "there are digits"),
        ({"hyperparameters_json": '{"epochs": 0}'}, "INVALID_ARGUMENT", '"maximum": 200'),
        ({"hyperparameters_json": '{"epoch": 1}'}, "INVALID_ARGUMENT", "there are epochs"),
        ({"model": "../etc"}, "INVALID_ARGUMENT", "../etc"),
    ],
)
def test_submissions_that_nobody_can_train(
    deployment: Any, fields: dict[str, Any], code: str, says: str
) -> None:
    error = refusal(lambda: submit(deployment, **fields))
    assert error.code().name == code
    assert says in error.details()
    assert list(ask(deployment, "ListJobs").jobs) == []
    if "epochs" in fields.get("hyperparameters_json", ""):
        violation = details_of(error)["BadRequest"].field_violations[0]
        assert violation.field == "training.hyperparameters.epochs"


@pytest.mark.parametrize("name", ["GetJob", "CancelJob"])
def test_no_such_job(deployment: Any, name: str) -> None:
    error = refusal(lambda: ask(deployment, name, job_id="nothing"))
    assert error.code() == grpc.StatusCode.NOT_FOUND
    error = refusal(lambda: list(watch(deployment, "nothing")))
    assert error.code() == grpc.StatusCode.NOT_FOUND


def test_no_trainer_yet(deploy: Callable[[str], Any]) -> None:
    deployment = deploy("socket")
    error = refusal(lambda: submit(deployment))
    assert error.code() == grpc.StatusCode.UNAVAILABLE
    assert "no trainer has registered" in error.details()


def test_without_redis_it_stays_up_and_recovers(deployment: Any) -> None:
    job = submit(deployment)
    deployment.valkey.kill()
    try:
        error = refusal(lambda: ask(deployment, "GetJob", job_id=job.id))
        assert error.code() == grpc.StatusCode.UNAVAILABLE
        assert "Redis at redis://127.0.0.1" in error.details()
        assert deployment.channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")(
            b"x", timeout=5
        ) == b"x"  # fmt: skip
    finally:
        deployment.valkey.start()
    assert ask(deployment, "GetJob", job_id=job.id).job.id == job.id


def test_a_watcher_that_leaves_frees_its_thread(deployment: Any) -> None:
    job = submit(deployment)
    for _ in range(3):
        stream = watch(deployment, job.id)
        next(stream)
        stream.cancel()  # type: ignore[attr-defined]
    end = time.monotonic() + 10
    while any(a.streams for a in deployment.app.server.admissions):
        assert time.monotonic() < end
        time.sleep(0.05)


def test_watchers_do_not_hold_up_a_stop(deployment: Any) -> None:
    job = submit(deployment)
    stream = watch(deployment, job.id)
    next(stream)
    started = time.monotonic()
    stopping = threading.Thread(target=deployment.app.stop, args=(20,))
    stopping.start()
    error = refusal(lambda: list(stream))
    assert error.code() == grpc.StatusCode.UNAVAILABLE
    stopping.join(10)
    assert time.monotonic() - started < 5


def test_pause_resume_and_priority(deployment: Any) -> None:
    first = submit(deployment)
    paused = ask(deployment, "PauseJob", job_id=first.id).job
    assert (paused.state, paused.queue_position) == (pb.JOB_STATE_PAUSED, 0)
    listed = ask(deployment, "ListJobs", states=[pb.JOB_STATE_PAUSED]).jobs
    assert [job.id for job in listed] == [first.id]
    spec = pb.TrainingSpec(architecture="lenet5", dataset="digits")
    ask(deployment, "SubmitTraining", training=spec)
    urgent = ask(deployment, "SubmitTraining", training=spec, priority=9).job
    assert (urgent.priority, urgent.queue_position) == (9, 1)
    assert ask(deployment, "ResumeJob", job_id=first.id).job.queue_position == 2
    ask(deployment, "CancelJob", job_id=first.id)
    error = refusal(lambda: ask(deployment, "ResumeJob", job_id=first.id))
    assert error.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert "clone it" in error.details()


def test_a_clone_is_the_same_but_for_its_changes(deployment: Any) -> None:
    original = submit(
        deployment,
        hyperparameters_json='{"epochs": 3}',
        seed=7,
        device="cpu",
        max_seconds=60.0,
        promote=["test_accuracy>=0.9"],
    )
    changes = {"seed": 8, "hyperparameters": {"epochs": None}, "max_memory_mb": 512}
    clone = ask(deployment, "CloneJob", job_id=original.id, changes_json=json.dumps(changes)).job
    assert clone.id != original.id
    expected = pb.TrainingSpec()
    expected.CopyFrom(original.training)
    expected.seed, expected.hyperparameters_json, expected.max_memory_mb = 8, "{}", 512
    assert clone.training == expected
    assert json.loads(clone.spec_json)["max_seconds"] == 60.0


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ("[1]", "changes must be a JSON object, got list"),
        ("{", "changes are not JSON"),
        ('{"colour": "red"}', 'no field named "colour"'),
        ('{"seed": "much"}', "much"),
        ('{"hyperparameters": {"epochs": 0}}', '"maximum": 200'),
    ],
)
def test_changes_that_are_none(deployment: Any, changes: str, says: str) -> None:
    job = submit(deployment)
    error = refusal(lambda: ask(deployment, "CloneJob", job_id=job.id, changes_json=changes))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert says in error.details()


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"device": "tpu"}, "device: got 'tpu'; allowed is one of auto, cpu, cuda"),
        ({"processes": -1}, "processes: got -1; allowed is 1 to 64"),
        ({"max_seconds": float("nan")}, "max_seconds: got nan"),
        ({"max_memory_mb": -5}, "max_memory_mb: got -5"),
        ({"variants": ["int4"]}, "int4"),
        ({"promote": ["accuracy=1"]}, "accuracy=1"),
    ],
)
def test_options_that_are_none(deployment: Any, fields: dict[str, Any], says: str) -> None:
    error = refusal(lambda: submit(deployment, **fields))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert says in error.details()


def test_who_works_and_why_a_job_waits(deployment: Any) -> None:
    assert submit(deployment).reason == "no worker is running"
    deployment.jobs.report_worker(Worker("worker-1", memory_mb=4_000, devices=("cpu", "8 cores")))
    waiting = submit(deployment, device="cuda")
    assert waiting.reason == "no worker takes jobs of 'train.cuda'; there are worker-1 (train)"
    found = ask(deployment, "ListWorkers")
    (worker,) = found.workers
    assert (worker.name, worker.memory_mb, list(worker.devices)) == (
        "worker-1",
        4_000,
        ["cpu", "8 cores"],
    )
    assert dict(found.queued) == {"train": 1, "train.cuda": 1}


def test_a_search_is_a_job_with_its_space(deployment: Any) -> None:
    search = pb.SearchSpec(
        training=pb.TrainingSpec(
            architecture="lenet5", dataset="digits", promote=["test_accuracy>=0.9"], seed=3
        ),
        space_json='{"epochs": {"type": "int", "low": 1, "high": 9}}',
        minimize=True,
    )
    job = ask(deployment, "SubmitSearch", search=search, request_id="search-1").job
    assert (job.kind, job.state, job.HasField("training")) == (
        "search",
        pb.JOB_STATE_QUEUED,
        False,
    )
    spec = json.loads(job.spec_json)
    assert spec["training"]["model"] == "lenet5-digits"
    assert "promote" not in spec["training"]
    assert (spec["promote"], spec["trials"], spec["is_maximised"]) == (
        ["test_accuracy>=0.9"],
        20,
        False,
    )
    assert ask(deployment, "SubmitSearch", search=search, request_id="search-1").job.id == job.id
    error = refusal(lambda: ask(deployment, "CloneJob", job_id=job.id))
    assert "only trainings are cloned" in error.details()


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"space_json": ""}, "a JSON object with a range or more"),
        ({"space_json": "{"}, "space is not JSON"),
        ({"space_json": '{"depth": {"type": "int"}}'}, "no hyperparameter 'depth'; there are"),
        (
            {"space_json": '{"epochs": {"type": "int", "low": %s}}' % ("[" * 800 + "]" * 800)},
            "specification: maximum recursion depth exceeded",
        ),
        ({"space_json": '{"epochs": {"type": "set"}}'}, "an object of type float, int, choice"),
        ({"pruning": "never"}, "pruning: got 'never'; allowed is one of median"),
        ({"trials": -1}, "trials: got -1; allowed is 1 to 10000"),
    ],
)
def test_searches_that_are_none(deployment: Any, fields: dict[str, Any], says: str) -> None:
    training = pb.TrainingSpec(architecture="lenet5", dataset="digits")
    space = '{"epochs": {"type": "int", "low": 1, "high": 9}}'
    search = pb.SearchSpec(**{"training": training, "space_json": space, **fields})
    error = refusal(lambda: ask(deployment, "SubmitSearch", search=search))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert says in error.details()
