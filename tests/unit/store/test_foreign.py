from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from wintergarden.errors import InvalidArgument, Unsupported
from wintergarden.store import foreign, inspect_onnx, open_store
from wintergarden.store.inspect_onnx import Refused, inspect

FLOAT = TensorProto.FLOAT
X = helper.make_tensor_value_info("x", FLOAT, ["N", 3])
Y = helper.make_tensor_value_info("y", FLOAT, ["N", 3])


def model(
    nodes: Sequence[onnx.NodeProto],
    inputs: Sequence[onnx.ValueInfoProto] = (X,),
    outputs: Sequence[onnx.ValueInfoProto] = (Y,),
    initializers: Sequence[onnx.TensorProto] = (),
    domains: Sequence[str] = (),
    functions: Sequence[onnx.FunctionProto] = (),
) -> bytes:
    graph = helper.make_graph(nodes, "g", inputs, outputs, initializers)
    opsets = [helper.make_opsetid("", 18), *(helper.make_opsetid(d, 1) for d in domains)]
    made = helper.make_model(graph, opset_imports=opsets, ir_version=9, functions=list(functions))
    return made.SerializeToString()


RELU = model([helper.make_node("Relu", ["x"], ["y"])])


def function(name: str, calls: str) -> onnx.FunctionProto:
    node = helper.make_node(calls, ["a"], ["b"], domain="" if calls == "Relu" else "own")
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("own", 1)]
    return helper.make_function("own", name, ["a"], ["b"], [node], opsets)


def test_an_imported_model_is_published_unverified(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    manifest = store.import_onnx("net", RELU, ["a", "b", "c"], (0.0, 1.0))
    assert store.list_versions("net") == [1]
    assert not manifest.is_verified
    assert manifest.architecture == "imported"
    assert manifest.task == "tabular-classification"
    assert manifest.class_labels == ("a", "b", "c")
    (x,), (y,) = manifest.inputs, manifest.outputs
    assert (x.name, x.datatype, x.shape, x.value_range) == ("x", "FP32", (-1, 3), (0.0, 1.0))
    assert (y.name, y.datatype, y.shape, y.value_range) == ("y", "FP32", (-1, 3), None)
    assert store.fetch("net", 1).read("model.onnx") == RELU


def test_labels_must_fit_the_outputs(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    with pytest.raises(InvalidArgument, match=r"2 class labels for outputs of width \[3\]"):
        store.import_onnx("net", RELU, ["a", "b"])
    assert store.list_models() == []
    assert not list(tmp_path.rglob("claim.json"))


@pytest.mark.parametrize("value_range", [(1.0, 0.0), (0.0, float("nan")), (0.0, float("inf"))])
def test_a_range_must_be_one(tmp_path: Path, value_range: tuple[float, float]) -> None:
    with pytest.raises(InvalidArgument, match="two finite numbers, low below high; got"):
        open_store(str(tmp_path)).import_onnx("net", RELU, value_range=value_range)


def test_a_model_beyond_the_limit_is_not_even_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreign, "MAX_MODEL_BYTES", 10)
    with pytest.raises(InvalidArgument, match=f"has {len(RELU)} bytes; at most 10 are allowed"):
        open_store(str(tmp_path)).import_onnx("net", RELU)


def external(tensor: onnx.TensorProto) -> onnx.TensorProto:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    return tensor


def weights() -> onnx.TensorProto:
    return numpy_helper.from_array(np.ones(3, np.float32), "w")


def branch(*nodes: onnx.NodeProto, initializers: Sequence[onnx.TensorProto] = ()) -> Any:
    out = helper.make_tensor_value_info("b", FLOAT, [3])
    return helper.make_graph(nodes, "branch", [], [out], initializers)


def conditional(then: onnx.GraphProto) -> bytes:
    condition = helper.make_tensor_value_info("c", TensorProto.BOOL, [])
    plain = branch(
        helper.make_node("Identity", ["w2"], ["b"]),
        initializers=[numpy_helper.from_array(np.ones(3, np.float32), "w2")],
    )
    node = helper.make_node("If", ["c"], ["y"], then_branch=then, else_branch=plain)
    return model([node], [condition], [helper.make_tensor_value_info("y", FLOAT, [3])])


REFUSED: dict[str, tuple[bytes, str, str]] = {
    "empty": (b"", "InvalidArgument", "not an ONNX file: it has no graph"),
    "garbage": (b"\xff" * 100, "InvalidArgument", "its protobuf cannot be parsed"),
    "text": (b"hello", "InvalidArgument", "not an ONNX file"),
    "truncated": (RELU[:-5], "InvalidArgument", "not an ONNX file"),
    "no nodes": (model([]), "InvalidArgument", "the graph has no nodes"),
    "unknown operator": (
        model([helper.make_node("Rellu", ["x"], ["y"])]),
        "InvalidArgument",
        "the ONNX checker refuses it: No Op registered for Rellu",
    ),
    "dangling input": (
        model([helper.make_node("Relu", ["q"], ["y"])]),
        "InvalidArgument",
        "the ONNX checker refuses it",
    ),
    "shapes that clash": (
        model(
            [helper.make_node("MatMul", ["x", "w"], ["y"])],
            initializers=[numpy_helper.from_array(np.ones((4, 3), np.float32), "w")],
        ),
        "InvalidArgument",
        "the ONNX checker refuses it",
    ),
    "custom domain": (
        model([helper.make_node("Foo", ["x"], ["y"], domain="evil")], domains=["evil"]),
        "Unsupported",
        "operator evil:Foo is a custom one; allowed are the domains ai.onnx, ai.onnx.ml, com.",
    ),
    "custom domain in a branch": (
        conditional(branch(helper.make_node("Foo", [], ["b"], domain="evil"))),
        "Unsupported",
        "operator evil:Foo is a custom one",
    ),
    "external data": (
        model([helper.make_node("Add", ["x", "w"], ["y"])], initializers=[external(weights())]),
        "Unsupported",
        "tensor 'w' lies in another file; save the model with all its data inside",
    ),
    "external data in a constant": (
        model(
            [
                helper.make_node("Constant", [], ["w"], value=external(weights())),
                helper.make_node("Add", ["x", "w"], ["y"]),
            ]
        ),
        "Unsupported",
        "tensor 'w' lies in another file",
    ),
    "external data in a branch": (
        conditional(
            branch(helper.make_node("Identity", ["w"], ["b"]), initializers=[external(weights())])
        ),
        "Unsupported",
        "tensor 'w' lies in another file",
    ),
    "sequence": (
        model(
            [helper.make_node("SequenceConstruct", ["x"], ["y"])],
            outputs=[helper.make_tensor_sequence_value_info("y", FLOAT, ["N", 3])],
        ),
        "Unsupported",
        "output 'y' is a sequence; only tensors are served (scikit-learn: convert with zipmap",
    ),
    "float8": (
        model(
            [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT8E4M3FN)],
            outputs=[helper.make_tensor_value_info("y", TensorProto.FLOAT8E4M3FN, ["N", 3])],
        ),
        "InvalidArgument|Unsupported",
        "",
    ),
    "complex": (
        model(
            [helper.make_node("Identity", ["x"], ["y"])],
            [helper.make_tensor_value_info("x", TensorProto.COMPLEX64, [1])],
            [helper.make_tensor_value_info("y", TensorProto.COMPLEX64, [1])],
        ),
        "Unsupported",
        "input 'x' is of type COMPLEX64; served are BOOL, INT8",
    ),
    "input without shape": (
        model(
            [helper.make_node("Relu", ["x"], ["y"])],
            [helper.make_tensor_value_info("x", FLOAT, None)],
        ),
        "Unsupported",
        "input 'x' declares no shape",
    ),
    "endless functions": (
        model(
            [helper.make_node("f", ["x"], ["y"], domain="own")],
            domains=["own"],
            functions=[function("f", "g"), function("g", "f")],
        ),
        "InvalidArgument",
        "calls itself",
    ),
    "too many nodes": (
        model([helper.make_node("Identity", ["x"], [f"n{i}"]) for i in range(1001)]),
        "InvalidArgument",
        "the graph has more than 1000 nodes",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_imported(case: str) -> None:
    content, kind, message = REFUSED[case]
    with pytest.raises(Refused) as caught:
        inspect(content, max_nodes=1000)
    assert caught.value.kind in kind.split("|")
    assert message in str(caught.value)


def test_a_files_own_functions_and_known_domains_are_welcome() -> None:
    own = model(
        [helper.make_node("f", ["x"], ["y"], domain="own")],
        domains=["own"],
        functions=[function("f", "Relu")],
    )
    assert inspect(own, 10)["inputs"][0]["shape"] == [-1, 3]
    gelu = model(
        [helper.make_node("Gelu", ["x"], ["y"], domain="com.microsoft")], domains=["com.microsoft"]
    )
    assert inspect(gelu, 10)["outputs"][0]["name"] == "y"


def test_parameters_are_no_inputs_and_missing_output_shapes_are_inferred() -> None:
    content = model(
        [helper.make_node("Add", ["x", "w"], ["y"])],
        [X, helper.make_tensor_value_info("w", FLOAT, [3])],
        [helper.make_tensor_value_info("y", FLOAT, None)],
        [weights()],
    )
    described = inspect(content, 10)
    assert [tensor["name"] for tensor in described["inputs"]] == ["x"]
    assert described["outputs"] == [{"name": "y", "datatype": "FP32", "shape": [-1, 3]}]


@settings(max_examples=200)
@given(st.data())
def test_spoilt_models_are_read_or_refused(data: st.DataObject) -> None:
    content = bytearray(RELU)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    with suppress(Refused):
        inspect(bytes(content), 1000)


def test_the_reader_runs_alone(tmp_path: Path) -> None:
    """Nothing of ours is on its path, and what it says is an answer and not an exception."""
    store = open_store(str(tmp_path))
    for case, error in (("garbage", InvalidArgument), ("custom domain", Unsupported)):
        with pytest.raises(error, match="the model cannot be imported: "):
            store.import_onnx("net", REFUSED[case][0])
    assert store.list_models() == []


Break = Callable[[str], None]


@pytest.fixture
def break_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Break:
    """break_reader(code): what a file does that has taken over the process that reads it."""

    def break_reader(code: str) -> None:
        script = tmp_path / "hostile.py"
        script.write_text(code)
        monkeypatch.setattr(inspect_onnx, "__file__", str(script))

    return break_reader


@pytest.mark.parametrize(
    "code",
    [
        "import os; os.abort()",
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
        "raise SystemExit(3)",
        "print('no json')",
        "print('[]')",
        "print('x' * 10_000_000)",
    ],
)
def test_a_reader_that_breaks_takes_nothing_with_it(
    tmp_path: Path, break_reader: Break, code: str
) -> None:
    break_reader(code)
    with pytest.raises(InvalidArgument, match="broke the process that read it"):
        open_store(str(tmp_path / "store")).import_onnx("net", RELU)


@pytest.mark.parametrize(
    "code", ["print('{}')", 'print(\'{"inputs": [{"name": 1}], "outputs": []}\')']
)
def test_a_reader_that_lies_is_not_believed(tmp_path: Path, break_reader: Break, code: str) -> None:
    break_reader(code)
    with pytest.raises(InvalidArgument, match="cannot be described"):
        open_store(str(tmp_path / "store")).import_onnx("net", RELU)


def test_a_reader_that_hangs_is_ended(
    tmp_path: Path, break_reader: Break, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_reader("import time; time.sleep(60)")
    monkeypatch.setattr(foreign, "TIMEOUT_S", 0.5)
    began = time.monotonic()
    with pytest.raises(InvalidArgument, match="could not be read within"):
        open_store(str(tmp_path / "store")).import_onnx("net", RELU)
    assert time.monotonic() - began < 10


@pytest.mark.skipif(sys.platform != "linux", reason="needs RLIMIT_AS")
def test_the_reader_has_little_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "greedy.py"
    source = Path(inspect_onnx.__file__).read_text()
    script.write_text(source.replace("    from google", "    bytearray(2**36)\n    from google", 1))
    monkeypatch.setattr(inspect_onnx, "__file__", str(script))
    with pytest.raises(InvalidArgument, match="reading it takes more than"):
        open_store(str(tmp_path / "store")).import_onnx("net", RELU)


def test_imports_at_once_do_not_meet(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    threads = [threading.Thread(target=store.import_onnx, args=("net", RELU)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.list_versions("net") == [1, 2, 3]
    assert [path.name for path in tmp_path.iterdir()] == ["models"]
