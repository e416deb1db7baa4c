"""What waiting for a job makes of its model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import pytest

import wintergarden
from wintergarden import errors
from wintergarden.wire import models_pb2, training_pb2
from wintergarden.wire import open_inference_pb2 as pb

Ask = Callable[[Callable[[Any], Any]], Any]


def wait(client: Any) -> Any:
    """For job "j", with either client."""
    if isinstance(client, wintergarden.Client):
        return client.jobs.handle("j").wait()

    async def asynchronous() -> Any:
        return await (await client.jobs.handle("j")).wait()

    return asynchronous()


def missing(request: Any, context: Any) -> Any:
    context.abort(grpc.StatusCode.NOT_FOUND, "no such version")


def succeeded(server: Any, **fields: Any) -> list[Any]:
    """A job "j" that has published version 3 of "m"; the list collects who asks for it."""
    record = training_pb2.Job(
        id="j", state=training_pb2.JOB_STATE_SUCCEEDED, model_name="m", model_version=3, **fields
    )
    asked: list[Any] = []

    def ready(request: Any, context: Any) -> Any:
        asked.append(request)
        return missing(request, context)

    server.on("GetJob", lambda request, _: training_pb2.GetJobResponse(job=record))
    server.on("ModelReady", ready)
    return asked


def index_of(**reasons: str) -> Callable[[Any, Any], Any]:
    """`v3="why"`: an index of versions that are not served; without a reason they are."""
    index = pb.RepositoryIndexResponse()
    for version, reason in reasons.items():
        state = "UNAVAILABLE" if reason else "READY"
        index.models.add(name="m", version=version[1:], state=state, reason=reason)
    return lambda request, context: index


def test_a_trial_of_a_search_is_served_by_nobody(server: Any, ask: Ask) -> None:
    asked = succeeded(server, parent="search")
    assert ask(wait).model_version == 3
    assert not asked


def test_a_version_that_was_deleted_is_not_waited_for(server: Any, ask: Ask) -> None:
    succeeded(server)
    server.on("DescribeModel", missing)
    server.on("RepositoryIndex", index_of())
    assert ask(wait).model_version == 3


def test_a_version_left_out_for_later_ones_is_not_waited_for(server: Any, ask: Ask) -> None:
    succeeded(server)
    server.on("DescribeModel", lambda request, _: models_pb2.DescribeModelResponse())
    server.on("RepositoryIndex", index_of(v3="not among the latest 1", v4=""))
    assert ask(wait).model_version == 3


def test_a_version_that_the_server_refuses_is_told(server: Any, ask: Ask) -> None:
    succeeded(server)
    server.on("DescribeModel", lambda request, _: models_pb2.DescribeModelResponse())
    server.on("RepositoryIndex", index_of(v2="", v3="sha256 differs"))
    with pytest.raises(errors.FailedPrecondition, match="sha256 differs"):
        ask(wait)
