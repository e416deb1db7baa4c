"""One answer from the answers of several processes."""

from __future__ import annotations

from typing import Any

import pytest

from services.inference.processes import combine
from services.inference.processes.metrics import summed
from wintergarden.wire import open_inference_pb2 as pb


def index(*models: tuple[str, str, str]) -> bytes:
    response = pb.RepositoryIndexResponse()
    for name, version, state in models:
        reason = "" if state == "READY" else f"because {state}"
        response.models.add(name=name, version=version, state=state, reason=reason)
    return response.SerializeToString()


def states(answers: list[bytes], *, ready_only: bool = False) -> list[tuple[str, str, str, str]]:
    whole = pb.RepositoryIndexResponse.FromString(combine.index(answers, ready_only=ready_only))
    return [(m.name, m.version, m.state, m.reason) for m in whole.models]


def test_a_version_is_ready_when_it_is_in_every_process() -> None:
    one = index(("m", "2", "READY"), ("m", "10", "READY"), ("n", "1", "UNAVAILABLE"))
    two = index(("m", "2", "READY"), ("m", "10", "LOADING"), ("n", "1", "UNAVAILABLE"))
    assert states([one, two]) == [
        ("m", "2", "READY", ""),
        ("m", "10", "LOADING", "because LOADING"),
        ("n", "1", "UNAVAILABLE", "because UNAVAILABLE"),
    ]
    assert states([one, two], ready_only=True) == [("m", "2", "READY", "")]


def test_a_version_that_not_all_have_heard_of_is_not_ready() -> None:
    assert states([index(("m", "1", "READY")), index()]) == [("m", "1", "LOADING", "")]
    assert states([index(("m", "1", "READY")), index()], ready_only=True) == []


@pytest.mark.parametrize(("answers", "ready"), [([1, 1], True), ([1, 0], False), ([], False)])
def test_ready_when_all_are(answers: list[int], ready: bool) -> None:
    message = pb.ServerReadyResponse
    payloads = [message(ready=bool(answer)).SerializeToString() for answer in answers]
    assert message.FromString(combine.all_ready(payloads, message)).ready is ready


def duration(count: int) -> pb.StatisticDuration:
    return pb.StatisticDuration(count=count, ns=1000 * count)


def model(count: int, last: int, sizes: dict[int, int]) -> pb.ModelStatistics:
    statistics = pb.ModelStatistics(
        name="m",
        version="1",
        last_inference=last,
        inference_count=2 * count,
        execution_count=count,
        inference_stats=pb.InferStatistics(
            success=duration(count), fail=duration(1), cache_hit=duration(2)
        ),
        batch_stats=[
            pb.InferBatchStatistics(batch_size=size, compute_infer=duration(runs))
            for size, runs in sizes.items()
        ],
        memory_usage=[pb.MemoryUsage(type="CPU", id=0, byte_size=100)],
    )
    statistics.response_stats["0"].compute_infer.MergeFrom(duration(count))
    return statistics


def test_statistics_are_summed_by_version() -> None:
    other = pb.ModelStatistics(name="m", version="2", inference_count=7)
    answers = [
        pb.ModelStatisticsResponse(model_stats=[model(3, 50, {1: 2, 8: 1})]),
        pb.ModelStatisticsResponse(model_stats=[model(4, 40, {4: 3, 8: 1}), other]),
    ]
    payload = combine.statistics([answer.SerializeToString() for answer in answers])
    whole, second = pb.ModelStatisticsResponse.FromString(payload).model_stats
    assert second == other
    assert (whole.inference_count, whole.execution_count, whole.last_inference) == (14, 7, 50)
    assert whole.inference_stats.success == duration(7)
    assert whole.inference_stats.fail == duration(2)
    assert whole.inference_stats.cache_hit == duration(4)
    assert [(b.batch_size, b.compute_infer.count) for b in whole.batch_stats] == [
        (1, 2),
        (4, 3),
        (8, 2),
    ]
    assert whole.memory_usage == [pb.MemoryUsage(type="CPU", id=0, byte_size=200)]
    assert whole.response_stats["0"].compute_infer == duration(7)


def test_metrics_are_summed_but_for_what_is_no_amount() -> None:
    def text(runs: int, seconds: float) -> str:
        return (
            "# HELP nv_inference_count Rows inferred\n"
            "# TYPE nv_inference_count untyped\n"
            f'nv_inference_count{{model="m",version="1"}} {runs}\n'
            "# HELP wintergarden_load_seconds Time\n"
            "# TYPE wintergarden_load_seconds gauge\n"
            f'wintergarden_load_seconds{{model="m"}} {seconds}\n'
            "# HELP wintergarden_batch_rows Rows\n"
            "# TYPE wintergarden_batch_rows histogram\n"
            f'wintergarden_batch_rows_bucket{{le="1.0"}} {runs}\n'
            f'wintergarden_batch_rows_bucket{{le="+Inf"}} {runs}\n'
            f"wintergarden_batch_rows_count {runs}\n"
            "# TYPE process_resident_memory_bytes gauge\n"
            "process_resident_memory_bytes 5\n"
        )

    found: dict[Any, float] = {
        (sample.name, tuple(sample.labels.items())): sample.value
        for metric in summed([text(3, 0.5), text(4, 0.25)])
        for sample in metric.samples
    }
    assert found == {
        ("nv_inference_count", (("model", "m"), ("version", "1"))): 7,
        ("wintergarden_load_seconds", (("model", "m"),)): 0.5,
        ("wintergarden_batch_rows_bucket", (("le", "1.0"),)): 7,
        ("wintergarden_batch_rows_bucket", (("le", "+Inf"),)): 7,
        ("wintergarden_batch_rows_count", ()): 7,
    }
