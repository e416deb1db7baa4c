"""The wheel alone gives SDK and CLI; the SDK lives beside tritonclient, and on protobuf 6 and 7."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx.parser
import pytest

from services.inference.app import create_app
from services.inference.settings import InferenceSettings
from wintergarden.store import open_store

pytestmark = pytest.mark.environments

ROOT = Path(__file__).parents[2]
ROOMS_NEED = ("celery", "onnx", "onnxruntime", "redis", "services", "torch", "trainer")
DOUBLE = """<ir_version: 8, opset_import: ["" : 17]>
double (float[n, 2] x) => (float[n, 2] y) { y = Add (x, x) }"""

# Scripts that run in those environments, with a server's address.
USE_SDK = """
import sys
import numpy as np
import wintergarden
from wintergarden.wire import explanation_pb2, models_pb2, training_pb2  # every message is built
with wintergarden.connect(sys.argv[1]) as client:
    assert client.infer("double", {"x": np.ones((1, 2), np.float32)})["y"].tolist() == [[2, 2]]
"""
USE_TRITONCLIENT = """
import sys
import numpy as np
import tritonclient.grpc as triton
x = triton.InferInput("x", [1, 2], "FP32")
x.set_data_from_numpy(np.ones((1, 2), np.float32))
with triton.InferenceServerClient(sys.argv[1]) as client:
    assert client.infer("double", [x]).as_numpy("y").tolist() == [[2, 2]]
"""
TRITONCLIENT_NEEDS = ("ml-dtypes<=0.5.4", "packaging", "python-rapidjson", "urllib3")
PROTOBUF_MAJOR = "import google.protobuf as p; print(p.__version__.split('.')[0])"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Of an inference service with a model that doubles."""
    store = str(tmp_path_factory.mktemp("store"))
    model = onnx.parser.parse_model(DOUBLE)
    open_store(store).import_onnx("double", model.SerializeToString())
    app = create_app(InferenceSettings(address="127.0.0.1:0", store_uri=store, device="cpu"))
    app.start()
    yield f"127.0.0.1:{app.server.ports[0]}"
    app.stop(0)


@pytest.fixture
def install(wheel: Path, environment: Callable[..., Any]) -> Callable[..., Any]:
    """Makes an environment with this tree's wheel in it."""

    def make(*more: str, locked: bool = True) -> Any:
        made = environment("", *more, locked=locked)
        made.pip("install", "--no-deps", "--force-reinstall", wheel)
        return made

    return make


def test_the_wheel_ships_wintergarden_alone_and_all_of_it(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}

    assert names == {
        str(path.relative_to(ROOT))
        for path in (ROOT / "wintergarden").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


def test_the_wheel_alone_gives_sdk_and_cli_and_brings_no_room(
    install: Callable[..., Any], address: str, tmp_path: Path
) -> None:
    alone = install()

    alone.run("python", "-W", "error", "-c", USE_SDK, address, cwd=tmp_path)
    assert "Usage" in alone.run("wintergarden", "--help", cwd=tmp_path)
    alone.pip("check")
    assert [module for module in ROOMS_NEED if alone.has(module)] == []


EITHER_FIRST = pytest.mark.parametrize(
    "script",
    [
        pytest.param(USE_SDK + USE_TRITONCLIENT, id="sdk-first"),
        pytest.param(USE_TRITONCLIENT + USE_SDK, id="tritonclient-first"),
    ],
)


@EITHER_FIRST
def test_the_sdk_lives_beside_tritonclient_on_protobuf_6(
    install: Callable[..., Any], address: str, tmp_path: Path, script: str
) -> None:
    both = install("tritonclient[grpc]>=2.73")

    both.run("python", "-c", script, address, cwd=tmp_path)  # tritonclient itself warns
    both.pip("check")
    assert both.run("python", "-c", PROTOBUF_MAJOR).strip() == "6"


@EITHER_FIRST
def test_the_sdk_lives_beside_tritonclient_on_protobuf_7(
    install: Callable[..., Any], address: str, tmp_path: Path, script: str
) -> None:
    # tritonclient still asks for protobuf < 7 but runs on it: some force it, and so do we.
    both = install("protobuf>=7,<8", *TRITONCLIENT_NEEDS, locked=False)
    both.pip("install", "--no-deps", "tritonclient>=2.73")

    both.run("python", "-c", script, address, cwd=tmp_path)
    assert both.run("python", "-c", PROTOBUF_MAJOR).strip() == "7"


def test_the_sdk_lives_on_protobuf_7(
    install: Callable[..., Any], address: str, tmp_path: Path
) -> None:
    newest = install("protobuf>=7,<8", locked=False)

    newest.run("python", "-W", "error", "-c", USE_SDK, address, cwd=tmp_path)
    newest.pip("check")
    assert newest.run("python", "-c", PROTOBUF_MAJOR).strip() == "7"
