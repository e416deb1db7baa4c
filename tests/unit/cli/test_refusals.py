"""What the commands do with what they cannot send or write: one line, and nothing half done."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from wintergarden.cli.app import app
from wintergarden.errors import InvalidArgument
from wintergarden.wire import models_pb2, tensors
from wintergarden.wire import open_inference_pb2 as pb
from wintergarden.wire.pool import methods

TABLE = {"name": "x", "datatype": "FP32", "shape": [-1, 2]}
Answers = dict[str, Callable[[Any], Any]]


@pytest.fixture
def answers() -> Answers:
    """What the server says, by method."""
    described = models_pb2.DescribeModelResponse()
    described.model.manifest_json = json.dumps({"inputs": [TABLE]})
    return {"DescribeModel": lambda request: described}


@pytest.fixture
def address(tmp_path: Path, answers: Answers) -> Iterator[str]:
    """Of a server that says so."""
    known = {
        method.path: method
        for service in ("inference.GRPCInferenceService", "wintergarden.v1.ModelsService")
        for method in methods(service).values()
    }

    class Scripted(grpc.GenericRpcHandler):
        def service(self, details: grpc.HandlerCallDetails) -> Any:
            method = known.get(details.method)
            if method is None or method.name not in answers:
                return None
            kind = (
                grpc.stream_stream_rpc_method_handler
                if method.is_client_streaming
                else grpc.unary_unary_rpc_method_handler
            )
            return kind(
                lambda request, context: answers[method.name](request),
                method.request.FromString,
                method.response.SerializeToString,
            )

    server = grpc.server(futures.ThreadPoolExecutor(4), handlers=(Scripted(),))
    server.add_insecure_port(f"unix:{tmp_path}/s")
    server.start()
    yield f"unix:{tmp_path}/s"
    server.stop(None).wait()


@pytest.fixture
def rows(tmp_path: Path) -> str:
    path = tmp_path / "rows.json"
    path.write_text("[[1, 2]]")
    return str(path)


@pytest.fixture
def run(address: str) -> Callable[..., Result]:
    def run(*arguments: str, stdin: bytes = b"") -> Result:
        return CliRunner().invoke(app, [*arguments, "--address", address], input=stdin)

    return run


def test_texts_are_not_saved_as_numbers(
    run: Callable[..., Result], answers: Answers, rows: str, tmp_path: Path
) -> None:
    texts = np.array([b"a\0"], object)
    answer = pb.ModelInferResponse(raw_output_contents=[tensors.encode(texts)])
    answer.outputs.add(name="words", datatype="BYTES", shape=[1])
    answers["ModelInfer"] = lambda request: answer
    path = tmp_path / "out.npz"
    ran = run("infer", "m", rows, "--save", str(path))
    assert isinstance(ran.exception, InvalidArgument)
    assert "words is of BYTES; --json prints it" in ran.exception.message
    assert not path.exists()


@pytest.mark.parametrize(
    "options",
    [("--seed", str(2**63)), ("--grid", "99999999999x1"), ("--evaluations", str(2**63))],
    ids=" ".join,
)
def test_a_number_beyond_its_field_is_refused(
    run: Callable[..., Result], rows: str, options: tuple[str, str]
) -> None:
    ran = run("explain", "m", rows, *options)
    assert isinstance(ran.exception, InvalidArgument)
    assert ran.exception.message.startswith("Value out of range: ")


def test_another_fault_of_ours_keeps_its_traceback(
    run: Callable[..., Result], answers: Answers, rows: str
) -> None:
    answers["DescribeModel"] = lambda request: models_pb2.DescribeModelResponse(
        model=models_pb2.ModelVersion(manifest_json="{")
    )
    assert isinstance(run("explain", "m", rows).exception, json.JSONDecodeError)


def test_a_file_and_a_text_are_too_much(run: Callable[..., Result], rows: str) -> None:
    for command in ("attack", "explain", "infer"):
        assert run(command, "m", rows, "--text", "a").exit_code == 2


@pytest.mark.parametrize(
    ("stdin", "prompt"),
    [("naïv".encode(), "naïv"), ("naï".encode()[:-1], "na"), (b"a\r\nb", "a\nb"), (b"", "")],
)
def test_a_prompt_from_standard_input_may_be_cut_in_a_character(
    run: Callable[..., Result], answers: Answers, stdin: bytes, prompt: str
) -> None:
    seen: list[str] = []
    described = pb.ModelMetadataResponse(name="m")
    described.inputs.add(name="text_input", datatype="BYTES", shape=[1])
    answers["ModelMetadata"] = lambda request: described

    def write(requests: Iterator[Any]) -> Iterator[Any]:
        for request in requests:
            (text,) = tensors.decode(request.raw_input_contents[0], "BYTES", [1])
            seen.append(text.decode())
        return iter(())

    answers["ModelStreamInfer"] = write
    ran = run("generate", "m", "-", stdin=stdin)
    assert ran.exception is None
    assert seen == [prompt]


def test_standard_input_of_another_encoding_is_refused(run: Callable[..., Result]) -> None:
    ran = run("generate", "m", "-", stdin=b"\xff and more")
    assert isinstance(ran.exception, InvalidArgument)
    assert "not UTF-8" in ran.exception.message
