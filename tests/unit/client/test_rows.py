"""What becomes of numbers and bytes on their way to a model."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import pytest

from wintergarden.client import explanation, explanation_jobs
from wintergarden.client.rows import array_of, fitted
from wintergarden.errors import InvalidArgument
from wintergarden.wire import explanation_pb2, models_pb2, training_pb2

Ask = Callable[[Callable[[Any], Any]], Any]

DOUBLES, SINGLES, HALVES = ({"datatype": d, "shape": [-1, 2]} for d in ("FP64", "FP32", "FP16"))


def manifest_of(*inputs: dict[str, Any]) -> Callable[[Any, Any], Any]:
    named = [{"name": f"x{number}", **tensor} for number, tensor in enumerate(inputs)]
    described = models_pb2.DescribeModelResponse()
    described.model.manifest_json = json.dumps({"inputs": named})
    return lambda request, context: described


@pytest.mark.parametrize(
    ("datatype", "value", "wanted"),
    [
        ("FP32", [0.5, 1.5], "float32"),
        ("FP16", [1, 2], "float16"),
        ("FP64", np.float32([1, 2]), "float64"),
        ("BF16", [0.5, 1.5], "bfloat16"),
        ("INT32", [1, 2], "int32"),
        ("UINT8", [0, 255], "uint8"),
        ("UINT8", [0, 256], "int64"),
        ("INT32", [1 << 31], "int64"),
        ("INT64", [0.5], "float64"),
        ("FP32", ["a"], "object"),
    ],
)
def test_numbers_become_what_holds_them_and_nothing_else(
    datatype: str, value: Any, wanted: str
) -> None:
    array = fitted(array_of(value), datatype)
    assert array.dtype.name == wanted
    assert array.tolist() == (value.tolist() if isinstance(value, np.ndarray) else value)


@pytest.mark.parametrize("value", [[b"ab\0", b"c"], [["a\0"], ["b"]], b"ab\0", [b"a\0", "b"]])
def test_bytes_and_texts_keep_their_last_nulls(value: Any) -> None:
    assert array_of(value).tolist() == value


ROWS = [[0.1, 0.2]]
ASKED: dict[str, Callable[..., Any]] = {
    "explain": lambda c, **more: c.explain("m", ROWS, **more),
    "attack": lambda c, **more: c.attack("m", ROWS, **more),
    "job of explain": lambda c, **more: c.jobs.explain("m", ROWS, **more),
    "job of attack": lambda c, **more: c.jobs.attack("m", ROWS, **more),
}


@pytest.fixture
def requests(server: Any) -> list[Any]:
    """What arrives of explanations and attacks."""
    seen: list[Any] = []

    def answering(response: Any) -> Callable[[Any, Any], Any]:
        return lambda request, context: seen.append(request) or response

    server.on("Explain", answering(explanation_pb2.ExplainResponse()))
    server.on("Attack", answering(explanation_pb2.AttackResponse()))
    job = training_pb2.Job(id="j", state=training_pb2.JOB_STATE_QUEUED)
    server.on("SubmitExplanation", answering(explanation_pb2.SubmitExplanationResponse(job=job)))
    return seen


def work_of(request: Any) -> Any:
    if isinstance(request, explanation_pb2.SubmitExplanationRequest):
        return getattr(request, request.WhichOneof("work"))
    return request


@pytest.mark.parametrize("what", ASKED)
@pytest.mark.parametrize("tensor", [DOUBLES, SINGLES, HALVES], ids=lambda t: t["datatype"])
def test_rows_are_explained_in_the_models_own_datatype(
    server: Any, ask: Ask, requests: list[Any], what: str, tensor: dict[str, Any]
) -> None:
    server.on("DescribeModel", manifest_of(tensor))
    ask(lambda client: ASKED[what](client))
    assert work_of(requests[0]).input.datatype == tensor["datatype"]


@pytest.mark.parametrize("what", ["explain", "job of explain"])
def test_background_and_context_are_of_their_inputs_datatypes(
    server: Any, ask: Ask, requests: list[Any], what: str
) -> None:
    server.on("DescribeModel", manifest_of(SINGLES, DOUBLES, HALVES))
    more = {"background": np.zeros((1, 2)), "context": {"x0": ROWS, "x2": np.ones((1, 2), "f4")}}
    ask(lambda client: ASKED[what](client, input_name="x1", **more))
    got = work_of(requests[0])
    assert (got.input.name, got.input.datatype, got.background.datatype) == ("x1", "FP64", "FP64")
    # A type that somebody has chosen is left to the server to judge.
    assert {t.name: t.datatype for t in got.context} == {"x0": "FP32", "x2": "FP32"}


def test_an_explanation_service_by_itself_gets_singles(
    server: Any, ask: Ask, requests: list[Any]
) -> None:
    server.on("DescribeModel", lambda _, context: context.abort(grpc.StatusCode.UNIMPLEMENTED, ""))
    ask(lambda client: ASKED["explain"](client))
    assert requests[0].input.datatype == "FP32"


def test_examples_need_no_rows(server: Any, ask: Ask, requests: list[Any]) -> None:
    ask(lambda client: client.jobs.explain("m", examples=(0, 2)))
    ask(lambda client: client.jobs.attack("m", examples=(0, 2)))
    assert not any(work_of(request).HasField("input") for request in requests)


@pytest.mark.parametrize("players", [[7, 7], "feature", (7,), (7, 7, 7), (0.5, 1)])
def test_players_of_another_kind_are_refused(players: Any) -> None:
    for request in (explanation.explain_request, _first_of(explanation_jobs.submit_explain)):
        with pytest.raises(InvalidArgument, match="want 'features', ") as caught:
            request("m", np.zeros((1, 4), np.float32), "kernel_shap", players=players)
        assert caught.value.field == "players"


def _first_of(flow: Callable[..., Any]) -> Callable[..., Any]:
    return lambda *given, **named: next(flow(*given, **named))


def test_players_by_name_grid_and_mask() -> None:
    rows = np.zeros((1, 4), np.float32)
    ask = explanation.explain_request
    assert not ask("m", rows, "kernel_shap").HasField("players")
    assert ask("m", rows, "kernel_shap", players="features").players.features
    grid = ask("m", rows, "kernel_shap", players=(4, 3)).players.grid
    assert (grid.rows, grid.columns) == (4, 3)
    mask = np.array([0, 0, 1, 1])
    assert ask("m", rows, "kernel_shap", players=mask).players.feature_mask.datatype == "INT64"
