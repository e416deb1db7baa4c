from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from wintergarden.errors import FailedPrecondition, InvalidArgument
from wintergarden.runtime import RuntimeOptions, open_session
from wintergarden.runtime.providers import cuda_problem

Build = Callable[..., bytes]
FLOAT = TensorProto.FLOAT

needs_no_cuda = pytest.mark.skipif(cuda_problem() is None, reason="this machine has CUDA")


@pytest.mark.parametrize(
    "options",
    [
        {"optimization_level": "disabled"},
        {"optimization_level": "basic"},
        {"optimization_level": "extended"},
        {"inter_op_threads": 2},
        {"inter_op_threads": 0},
        {"has_arena": False},
        {"has_memory_pattern": False},
        {"is_arena_shrunk": True},
        {"session_settings": {"session.disable_prepacking": "1"}},
    ],
    ids=str,
)
def test_the_options_change_no_answer(build: Build, options: dict[str, object]) -> None:
    session = open_session(
        build("Relu", {"x": (FLOAT, ["N"])}),
        RuntimeOptions(device="cpu", intra_op_threads=1, **options),  # type: ignore[arg-type]
    )
    assert session.run({"x": np.array([-1, 1], np.float32)})[0].tolist() == [0, 1]


def test_settings_reach_the_session(build: Build) -> None:
    options = RuntimeOptions(device="cpu", session_settings={"session.dynamic_block_base": "x"})
    with pytest.raises(InvalidArgument, match=r"dynamic_block_base"):
        open_session(build("Relu", {"x": (FLOAT, ["N"])}), options)


def test_a_shrinking_arena_gives_memory_back(build: Build) -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    # The intermediate tensor of 256 MiB lives in the arena.
    graph = helper.make_graph(
        [
            helper.make_node("ConstantOfShape", ["size"], ["zeros"]),
            helper.make_node("Exp", ["zeros"], ["ones"]),
            helper.make_node("ReduceSum", ["ones"], ["y"], keepdims=0),
        ],
        "g",
        [helper.make_tensor_value_info("size", TensorProto.INT64, [1])],
        [helper.make_tensor_value_info("y", FLOAT, [])],
    )
    opsets = [helper.make_opsetid("", 18)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()
    kept = {}
    for is_shrunk in (False, True):
        options = RuntimeOptions(device="cpu", intra_op_threads=1, is_arena_shrunk=is_shrunk)
        session = open_session(model, options)
        session.run({"size": np.array([2**10])})  # the first growth is kept in any case
        before = resident()
        session.run({"size": np.array([2**26])})
        kept[is_shrunk] = resident() - before
    assert kept[False] > 2**27 > kept[True]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"session_settings": {"ep.context_file_path": "/tmp/x"}}, "'ep.context_file_path' is not"),
        ({"tensorrt": {"trt_extra_plugin_lib_paths": "/tmp/x.so"}}, "'trt_extra_plugin_lib_paths'"),
        ({"tensorrt": {"trt_engine_cache_path": "/"}}, "is not offered; allowed are trt_aux"),
        ({"intra_op_threads": 999_999_999}, "999999999 threads of a session; allowed are 0, for"),
        ({"inter_op_threads": -1}, "-1 threads"),
        ({"is_cuda_graph": True, "is_arena_shrunk": True}, "choose one"),
    ],
    ids=str,
)
def test_what_reaches_beyond_the_session_is_refused(
    options: dict[str, object], message: str
) -> None:
    with pytest.raises(InvalidArgument, match=message):
        RuntimeOptions(**options)  # type: ignore[arg-type]


@needs_no_cuda
@pytest.mark.parametrize("device", ["auto", "cpu"])
@pytest.mark.parametrize(
    ("wanted", "name"), [({"is_cuda_graph": True}, "a CUDA graph"), ({"tensorrt": {}}, "TensorRT")]
)
def test_what_needs_cuda_is_refused_or_said_to_be_left_out(
    build: Build,
    caplog: pytest.LogCaptureFixture,
    device: str,
    wanted: dict[str, object],
    name: str,
) -> None:
    model = build("Relu", {"x": (FLOAT, ["N"])})
    with pytest.raises(
        FailedPrecondition, match=f"{name} was demanded and cannot be had: it needs"
    ):
        open_session(model, RuntimeOptions(device=device, **wanted))  # type: ignore[arg-type]
    with caplog.at_level(logging.WARNING):
        session = open_session(model, RuntimeOptions(device=device, unmet="warn", **wanted))  # type: ignore[arg-type]
    assert f"{name} was asked for and cannot be had, running without: it needs CUDA" in caplog.text
    assert session.run({"x": np.array([-1, 1], np.float32)})[0].tolist() == [0, 1]
