from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from wintergarden.errors import (
    FailedPrecondition,
    InvalidArgument,
    InvalidTensor,
    NotFound,
    Overloaded,
    Unsupported,
)
from wintergarden.runtime import RuntimeOptions, TensorSpec, open_session
from wintergarden.runtime.providers import cuda_problem

Build = Callable[..., bytes]
CPU = RuntimeOptions(device="cpu", intra_op_threads=1)
FLOAT, INT64, STRING = TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING


def test_a_session_says_what_it_takes_and_gives(build: Build) -> None:
    session = open_session(build("Relu", {"x": (FLOAT, ["N", 3])}, (FLOAT, ["N", 3])), CPU)
    assert session.inputs == (TensorSpec("x", "FP32", (-1, 3)),)
    assert session.outputs == (TensorSpec("y", "FP32", (-1, 3)),)
    assert session.providers == ("CPUExecutionProvider",)
    assert session.device == "cpu"
    (y,) = session.run({"x": np.array([[-1, 0, 2]], np.float32)})
    assert y.tolist() == [[0, 0, 2]]
    (y,) = session.run({"x": np.array([[-1, 0, 2]], np.float32)}, ["y"])
    assert y.tolist() == [[0, 0, 2]]


def test_a_file_opens_like_its_bytes(build: Build, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(build("Relu", {"x": (FLOAT, [1])}))
    assert open_session(path, CPU).inputs[0].shape == (1,)
    with pytest.raises(NotFound, match=r"absent\.onnx"):
        open_session(tmp_path / "absent.onnx", CPU)


@pytest.mark.parametrize(
    ("feeds", "message"),
    [
        ({"x": np.zeros((2, 2), np.float32)}, "index: 1 Got: 2 Expected: 3"),
        ({"x": np.zeros(3, np.float32)}, "Invalid rank for input: x Got: 1 Expected: 2"),
        ({"x": np.zeros((2, 3))}, r"Actual: \(tensor\(double\)\) , expected: \(tensor\(float\)\)"),
        ({}, "Required inputs .* missing"),
        ({"x": np.zeros((2, 3), np.float32), "z": np.zeros(1)}, "Invalid input name: z"),
        ({"x": np.zeros((2, 3), complex)}, "can't be converted"),
    ],
)
def test_a_wrong_feed_is_the_callers(
    build: Build, feeds: dict[str, np.ndarray], message: str
) -> None:
    session = open_session(build("Relu", {"x": (FLOAT, ["N", 3])}), CPU)
    with pytest.raises(InvalidTensor, match=message) as caught:
        session.run(feeds)
    assert "ONNXRuntimeError" not in caught.value.message


def test_an_unknown_output_is_the_callers(build: Build) -> None:
    session = open_session(build("Relu", {"x": (FLOAT, [1])}), CPU)
    with pytest.raises(InvalidTensor, match="Invalid output name"):
        session.run({"x": np.zeros(1, np.float32)}, ["q"])


@pytest.mark.parametrize(
    ("operator", "feeds"),
    [
        ("MatMul", {"a": np.zeros((2, 2), np.float32), "b": np.zeros((3, 2), np.float32)}),
        ("Add", {"a": np.zeros((2, 2), np.float32), "b": np.zeros((3, 2), np.float32)}),
    ],
)
def test_shapes_that_meet_badly_inside_the_graph_are_the_callers(
    build: Build, operator: str, feeds: dict[str, np.ndarray]
) -> None:
    inputs = {"a": (FLOAT, ["N", "M"]), "b": (FLOAT, ["K", "L"])}
    session = open_session(build(operator, inputs), CPU)
    with pytest.raises(InvalidTensor, match=f"running {operator} node") as caught:
        session.run(feeds)
    assert "onnxruntime_src" not in caught.value.message


def test_a_request_too_large_for_the_memory_is_refused(build: Build) -> None:
    session = open_session(build("ConstantOfShape", {"shape": (INT64, ["K"])}), CPU)
    with pytest.raises(Overloaded, match="memory"):
        session.run({"shape": np.array([2**44])})


def test_text_goes_in_as_bytes_or_str_and_comes_out_as_str(build: Build) -> None:
    session = open_session(build("Identity", {"x": (STRING, ["N"])}, (STRING, ["N"])), CPU)
    assert session.inputs[0].datatype == "BYTES"
    (y,) = session.run({"x": np.array([b"a", "é"], object)})
    assert y.tolist() == ["a", "é"]
    with pytest.raises(InvalidTensor, match="input 'x': BYTES must be UTF-8 here"):
        session.run({"x": np.array([b"\xff"], object)})


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        (b"", InvalidArgument, "No graph was found"),
        (b"garbage", InvalidArgument, "protobuf parsing failed"),
        ("custom", InvalidArgument, "evil:Foo"),
        ("no text", InvalidArgument, "codec can't decode"),
        ("float64", Unsupported, "Conv"),
        ("sequence", Unsupported, r"output 'y' is seq\(tensor\(float\)\); served are tensors"),
    ],
)
def test_what_cannot_be_served_is_refused_at_loading(
    build: Build, model: bytes | str, error: type[Exception], message: str
) -> None:
    double = TensorProto.DOUBLE
    if model == "custom":
        model = build("Foo", {"x": (FLOAT, [1])}, domain="evil")
    elif model == "no text":
        model = build("Relu", {"xyz": (FLOAT, [1])}).replace(b"xyz", b"x\xffz")
    elif model == "float64":
        model = build(
            "Conv", {"x": (double, [1, 1, 3, 3]), "w": (double, [1, 1, 3, 3])}, (double, None)
        )
    elif model == "sequence":
        graph = helper.make_graph(
            [helper.make_node("SequenceConstruct", ["x"], ["y"])],
            "g",
            [helper.make_tensor_value_info("x", FLOAT, [1])],
            [helper.make_tensor_sequence_value_info("y", FLOAT, None)],
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9
        ).SerializeToString()
    assert isinstance(model, bytes)
    with pytest.raises(error, match=message):
        open_session(model, CPU)


def test_many_threads_share_a_session(build: Build) -> None:
    session = open_session(build("Relu", {"x": (FLOAT, ["N"])}), CPU)

    def run(value: int) -> bool:
        x = np.full(value % 7 + 1, value, np.float32)
        return np.array_equal(session.run({"x": x})[0], x)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(run, range(500)))


def test_a_shrinking_arena_computes_the_same(build: Build) -> None:
    options = RuntimeOptions(device="cpu", intra_op_threads=1, is_arena_shrunk=True)
    session = open_session(build("Relu", {"x": (FLOAT, ["N"])}), options)
    assert session.run({"x": np.array([-1, 1], np.float32)})[0].tolist() == [0, 1]


def test_an_unknown_device_is_named(build: Build) -> None:
    with pytest.raises(InvalidArgument, match="device 'tpu' is unknown; allowed are auto, cpu"):
        open_session(build("Relu", {"x": (FLOAT, [1])}), RuntimeOptions(device="tpu"))  # type: ignore[arg-type]


needs_no_cuda = pytest.mark.skipif(cuda_problem() is None, reason="this machine has CUDA")


@needs_no_cuda
def test_cuda_demanded_and_not_got_says_why_and_the_cure(build: Build) -> None:
    with pytest.raises(FailedPrecondition, match=r"'cuda' was demanded .* choose device 'cpu'"):
        open_session(build("Relu", {"x": (FLOAT, [1])}), RuntimeOptions(device="cuda"))


@needs_no_cuda
def test_auto_falls_back_with_one_line_and_no_noise(build: Build, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(build("Gather", {"x": (FLOAT, ["N"]), "i": (INT64, ["K"])}))
    code = f"""
import logging, sys
from pathlib import Path
logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(message)s")
import numpy as np
from wintergarden.errors import InvalidTensor
from wintergarden.runtime import open_session
for _ in range(2):
    session = open_session(Path({str(path)!r}))
    try:
        session.run({{"x": np.zeros(1, np.float32), "i": np.array([7])}})
    except InvalidTensor:
        pass
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    (line,) = done.stdout.splitlines()
    assert line.startswith("device 'auto' runs on the CPU: ")


def test_nothing_is_told_to_anybody(build: Build, tmp_path: Path) -> None:
    """ONNX Runtime's telemetry leaves an identifier and a data base in the home directory."""
    (tmp_path / "home").mkdir()
    path = tmp_path / "model.onnx"
    path.write_bytes(build("Relu", {"x": (FLOAT, ["N"])}))
    code = f"""
from pathlib import Path
import numpy as np
from wintergarden.runtime import open_session
open_session(Path({str(path)!r})).run({{"x": np.zeros(1, np.float32)}})
"""
    environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    environment["HOME"] = str(tmp_path / "home")
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)
    assert list((tmp_path / "home").rglob("*")) == []


@pytest.mark.gpu
def test_cuda_is_used_where_it_is_demanded(build: Build) -> None:
    if cuda_problem() is not None:
        pytest.skip(str(cuda_problem()))
    session = open_session(build("Relu", {"x": (FLOAT, ["N"])}), RuntimeOptions(device="cuda"))
    assert session.device == "cuda"
    assert session.run({"x": np.array([-1, 1], np.float32)})[0].tolist() == [0, 1]
