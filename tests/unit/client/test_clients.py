"""What both clients do with the transport: retries, errors, deadlines, streams."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

import wintergarden
from wintergarden import errors
from wintergarden.client import ServerFault, StateChanged
from wintergarden.client.patience import Patience
from wintergarden.wire import models_pb2, training_pb2
from wintergarden.wire import open_inference_pb2 as pb

Ask = Callable[[Callable[[Any], Any]], Any]


def echo(request: Any, context: Any) -> pb.ModelInferResponse:
    response = pb.ModelInferResponse(raw_output_contents=request.raw_input_contents)
    for tensor in request.inputs:
        response.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
    return response


def failing(first: int, then: Callable[[Any, Any], Any], code: Any = None) -> Any:
    """A script that fails `first` times; `seen` collects the requests."""
    seen: list[Any] = []

    def script(request: Any, context: Any) -> Any:
        seen.append(request)
        if len(seen) <= first:
            context.abort(code or grpc.StatusCode.UNAVAILABLE, "draining")
        return then(request, context)

    script.seen = seen  # type: ignore[attr-defined]
    return script


def test_messages_far_beyond_grpcs_default_limit_pass(server: Any, ask: Ask) -> None:
    server.on("ModelInfer", echo)
    x = np.arange(4 << 20, dtype=np.float32)  # 16 MiB
    np.testing.assert_array_equal(ask(lambda c: c.infer("m", {"x": x}))["x"], x)


def test_inference_is_repeated_while_the_server_is_unavailable(server: Any, ask: Ask) -> None:
    script = failing(3, echo)
    server.on("ModelInfer", script)
    ask(lambda c: c.infer("m", {"x": np.zeros(1)}))
    assert len(script.seen) == 4


def test_a_refusal_is_not_repeated(server: Any, ask: Ask) -> None:
    script = failing(9, echo, grpc.StatusCode.INVALID_ARGUMENT)
    server.on("ModelInfer", script)
    with pytest.raises(errors.InvalidArgument, match="draining"):
        ask(lambda c: c.infer("m", {"x": np.zeros(1)}))
    assert len(script.seen) == 1


def test_a_repeated_submission_is_the_same_job(server: Any, ask: Ask) -> None:
    script = failing(
        2,
        lambda request, _: training_pb2.SubmitTrainingResponse(
            job=training_pb2.Job(id="j1", state=training_pb2.JOB_STATE_QUEUED)
        ),
    )
    server.on("SubmitTraining", script)
    assert ask(lambda c: c.train("lenet5", "mnist-5k", {"epochs": 1})).id == "j1"
    assert len(script.seen) == 3
    assert len({request.request_id for request in script.seen}) == 1
    assert script.seen[0].request_id


def test_an_import_is_not_repeated_but_its_chunks_are(
    server: Any, ask: Ask, tmp_path: Path
) -> None:
    upload = failing(1, lambda request, _: models_pb2.UploadModelResponse())
    finish = failing(1, lambda request, _: models_pb2.ImportModelResponse())
    server.on("UploadModel", upload)
    server.on("ImportModel", finish)
    path = tmp_path / "big.onnx"
    path.write_bytes(b"x" * ((1 << 20) + 5))
    with pytest.raises(errors.Unavailable):
        ask(lambda c: c.models.import_onnx("m", path))
    assert [request.offset for request in upload.seen] == [0, 0, 1 << 20]
    assert len(finish.seen) == 1


def test_a_models_inputs_are_asked_for_once_and_again_after_a_refusal(
    server: Any, ask: Ask
) -> None:
    described = pb.ModelMetadataResponse(name="m")
    described.inputs.add(name="x", datatype="FP32", shape=[-1])
    metadata = failing(0, lambda request, _: described)
    server.on("ModelMetadata", metadata)
    server.on("ModelInfer", failing(1, echo, grpc.StatusCode.INVALID_ARGUMENT))

    def question(client: Any) -> Any:
        if isinstance(client, wintergarden.Client):
            with pytest.raises(errors.InvalidArgument):
                client.infer("m", [1.0])
            client.infer("m", [1.0])
            return client.infer("m", [1.0])

        async def asynchronous() -> Any:
            with pytest.raises(errors.InvalidArgument):
                await client.infer("m", [1.0])
            await client.infer("m", [1.0])
            return await client.infer("m", [1.0])

        return asynchronous()

    ask(question)
    assert len(metadata.seen) == 2


def rich(code: grpc.StatusCode, message: str, *details: Any) -> Callable[[Any, Any], Any]:
    status = status_pb2.Status(code=code.value[0], message=message)
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)

    def script(request: Any, context: Any) -> Any:
        context.abort_with_status(rpc_status.to_status(status))

    return script


@pytest.mark.parametrize(
    "cls",
    [
        cls
        for cls in vars(errors).values()
        if isinstance(cls, type)
        and issubclass(cls, errors.WintergardenError)
        and cls not in (errors.WintergardenError, errors.Unavailable)
    ],
)
def test_every_error_comes_back_as_its_own_type(server: Any, ask: Ask, cls: Any) -> None:
    info = error_details_pb2.ErrorInfo(reason=cls("").reason, domain="wintergarden")
    server.on("GetJob", rich(grpc.StatusCode.UNKNOWN, "what, got, allowed", info))
    with pytest.raises(errors.WintergardenError) as caught:
        ask(lambda c: c.jobs.get("j"))
    assert type(caught.value) is cls
    assert caught.value.message == "what, got, allowed"
    assert isinstance(caught.value.__cause__, grpc.RpcError)


def test_the_offending_field_and_the_time_to_wait_come_back(server: Any, ask: Ask) -> None:
    bad = error_details_pb2.BadRequest()
    bad.field_violations.add(field="hyperparameters.epochs", description="too many")
    server.on("GetJob", rich(grpc.StatusCode.INVALID_ARGUMENT, "no", bad))
    with pytest.raises(errors.InvalidArgument) as invalid:
        ask(lambda c: c.jobs.get("j"))
    assert invalid.value.field == "hyperparameters.epochs"

    retry = error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(nanos=250_000_000))
    server.on("GetJob", rich(grpc.StatusCode.RESOURCE_EXHAUSTED, "full", retry))
    with pytest.raises(errors.Overloaded) as overloaded:
        ask(lambda c: c.jobs.get("j"))
    assert overloaded.value.retry_after_s == 0.25


def test_a_fault_of_the_server_keeps_its_trace_id(server: Any, ask: Ask) -> None:
    server.on("GetJob", rich(grpc.StatusCode.INTERNAL, "internal error (trace 4f2a)"))
    with pytest.raises(ServerFault) as caught:
        ask(lambda c: c.jobs.get("j"))
    assert caught.value.trace_id == "4f2a"


def test_nobody_there_is_unavailable_after_the_patience_is_spent(tmp_path: Path) -> None:
    with (
        wintergarden.connect(f"unix:{tmp_path}/none", retry_for_s=0.2) as client,
        pytest.raises(errors.Unavailable),
    ):
        client.jobs.list()


def events_after(cursor: str, until: int) -> Iterator[training_pb2.WatchJobResponse]:
    for number in range(int(cursor or 0) + 1, until + 1):
        event = training_pb2.JobEvent(cursor=str(number), sequence=number)
        if number == 6:
            event.state.state = training_pb2.JOB_STATE_SUCCEEDED
        else:
            event.metrics.values["loss"] = 1 / number
        yield training_pb2.WatchJobResponse(event=event)


@pytest.mark.parametrize("how", ["broken", "ended politely"])
def test_a_watch_goes_on_from_its_cursor_and_gives_every_event_once(
    server: Any, ask: Ask, how: str
) -> None:
    cursors: list[str] = []

    def watch(request: Any, context: Any) -> Iterator[Any]:
        cursors.append(request.cursor)
        yield from events_after(request.cursor, min(6, 2 * len(cursors)))
        if how == "broken" and len(cursors) < 3:
            context.abort(grpc.StatusCode.UNAVAILABLE, "going away")

    server.on("WatchJob", watch)
    events = ask(lambda c: c.jobs.watch("j"))
    assert [event.sequence for event in events] == [1, 2, 3, 4, 5, 6]
    assert cursors == ["", "2", "4"]
    assert isinstance(events[-1], StateChanged)


def test_watching_a_job_that_has_ended_ends(server: Any, ask: Ask) -> None:
    server.on("WatchJob", lambda request, context: iter(()))
    server.on(
        "GetJob",
        lambda request, context: training_pb2.GetJobResponse(
            job=training_pb2.Job(id="j", state=training_pb2.JOB_STATE_FAILED)
        ),
    )
    assert ask(lambda c: c.jobs.watch("j", cursor="9")) == []


def test_a_watch_has_a_time_limit(server: Any, ask: Ask) -> None:
    def watch(request: Any, context: Any) -> Iterator[Any]:
        yield from events_after(request.cursor, 1)
        while context.is_active():
            pass

    server.on("WatchJob", watch)
    with pytest.raises(errors.DeadlineExceeded):
        ask(lambda c: c.jobs.watch("j", timeout_s=0.3))


def test_patience_grows_is_bounded_and_ends() -> None:
    now = 0.0
    patience = Patience(10.0, clock=lambda: now)
    delays = []
    with pytest.raises(errors.Unavailable):
        while True:
            delays.append(patience.delay_s(errors.Unavailable("away")))
            now += delays[-1]
    assert delays[0] <= 0.05
    assert max(delays) <= 1.0
    assert sum(delays) == pytest.approx(10.0)


def test_the_methods_keep_the_documentation_and_signature_of_their_flows() -> None:
    for client in (wintergarden.Client, wintergarden.AsyncClient):
        assert "array by input name" in (client.infer.__doc__ or "")
        parameters = list(inspect.signature(client.infer).parameters)
        assert parameters[:3] == ["self", "model", "inputs"]


def test_waiting_for_a_model_ends_when_it_is_served(server: Any, ask: Ask) -> None:
    ready = iter([False, False, True])
    server.on("ModelReady", lambda request, _: pb.ModelReadyResponse(ready=next(ready)))
    server.on("RepositoryIndex", lambda request, _: pb.RepositoryIndexResponse())
    ask(lambda c: c.wait_until_served("m", version=2))
    assert next(ready, None) is None


def test_waiting_for_a_model_ends_when_the_server_has_refused_it(server: Any, ask: Ask) -> None:
    missing = error_details_pb2.ErrorInfo(reason="NOT_FOUND", domain="wintergarden")
    server.on("ModelReady", rich(grpc.StatusCode.NOT_FOUND, "no model", missing))
    index = pb.RepositoryIndexResponse()
    index.models.add(name="m", version="2", state="UNAVAILABLE", reason="sha256 differs")
    server.on("RepositoryIndex", lambda request, _: index)
    with pytest.raises(errors.FailedPrecondition, match="sha256 differs"):
        ask(lambda c: c.wait_until_served("m", version=2))


def test_waiting_for_a_job_whose_model_is_served(server: Any, ask: Ask) -> None:
    record = training_pb2.Job(
        id="j", state=training_pb2.JOB_STATE_SUCCEEDED, model_name="m", model_version=3
    )
    server.on("GetJob", lambda request, _: training_pb2.GetJobResponse(job=record))
    asked = failing(0, lambda request, _: pb.ModelReadyResponse(ready=True))
    server.on("ModelReady", asked)

    def question(client: Any) -> Any:
        if isinstance(client, wintergarden.Client):
            return client.jobs.handle("j").wait()

        async def asynchronous() -> Any:
            return await (await client.jobs.handle("j")).wait()

        return asynchronous()

    assert ask(question).model_version == 3
    assert [(request.name, request.version) for request in asked.seen] == [("m", "3")]
