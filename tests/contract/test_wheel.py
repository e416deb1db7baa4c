"""The wheel alone gives SDK and CLI; the SDK lives beside tritonclient, and on protobuf 6 and 7."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.environments, pytest.mark.xdist_group("wheel")]

ROOT = Path(__file__).parents[2]

# All message classes are built, so that a clash with another `inference.*` would show.
USE_SDK = """
import wintergarden
from wintergarden.wire import explanation_pb2, models_pb2, open_inference_pb2, training_pb2
wintergarden.connect("127.0.0.1:1").close()
request = open_inference_pb2.ModelInferRequest(model_name="m", raw_input_contents=[b"1234"])
assert open_inference_pb2.ModelInferRequest.FromString(request.SerializeToString()) == request
"""
USE_TRITONCLIENT = """
import numpy as np
import tritonclient.grpc as triton
tensor = triton.InferInput("x", [1, 2], "FP32")
tensor.set_data_from_numpy(np.zeros((1, 2), np.float32))
theirs = triton.service_pb2.ModelInferRequest(model_name="m")
"""
SAME_WIRE = """
assert open_inference_pb2.ModelInferRequest.FromString(theirs.SerializeToString()).model_name == "m"
"""
PROTOBUF_MAJOR = "import google.protobuf as p; print(p.__version__.split('.')[0])"


@pytest.fixture
def install(wheel: Path, environment: Callable[..., Any]) -> Callable[..., Any]:
    """Makes an environment with this tree's wheel in it."""

    def make(*more: str, locked: bool = True) -> Any:
        made = environment("", *more, locked=locked)
        made.run("pip", "install", "--quiet", "--no-deps", "--force-reinstall", wheel)
        return made

    return make


def test_the_wheel_ships_wintergarden_alone_and_all_of_it(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}

    assert {name.split("/")[0] for name in names} == {"wintergarden"}
    assert names == {
        str(path.relative_to(ROOT))
        for path in (ROOT / "wintergarden").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_alone_gives_sdk_and_cli_and_brings_no_room(
    install: Callable[..., Any], tmp_path: Path
) -> None:
    alone = install()

    alone.run("python", "-W", "error", "-c", USE_SDK, cwd=tmp_path)
    assert "Usage" in alone.run("wintergarden", "--help", cwd=tmp_path)
    alone.run("pip", "check")
    for module in ("celery", "onnx", "onnxruntime", "redis", "services", "torch", "trainer"):
        assert not alone.has(module), module


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(USE_SDK + USE_TRITONCLIENT + SAME_WIRE, id="sdk-first"),
        pytest.param(USE_TRITONCLIENT + USE_SDK + SAME_WIRE, id="tritonclient-first"),
    ],
)
def test_the_sdk_lives_beside_tritonclient_on_protobuf_6(
    install: Callable[..., Any], tmp_path: Path, script: str
) -> None:
    both = install("tritonclient[grpc]>=2.73")

    both.run("python", "-c", script, cwd=tmp_path)  # tritonclient itself warns
    both.run("pip", "check")
    assert both.run("python", "-c", PROTOBUF_MAJOR).strip() == "6"


def test_the_sdk_lives_on_protobuf_7(install: Callable[..., Any], tmp_path: Path) -> None:
    # Not beside tritonclient: its newest release still asks for protobuf < 7.
    newest = install("protobuf>=7,<8", locked=False)

    newest.run("python", "-W", "error", "-c", USE_SDK, cwd=tmp_path)
    newest.run("pip", "check")
    assert newest.run("python", "-c", PROTOBUF_MAJOR).strip() == "7"
