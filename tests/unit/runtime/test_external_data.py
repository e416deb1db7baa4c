"""ONNX Runtime keeps to the model's folder; this holds every version of it to that."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from wintergarden.errors import InvalidArgument
from wintergarden.runtime import RuntimeOptions, open_session

CPU = RuntimeOptions(device="cpu", intra_op_threads=1)


def model(location: str, offset: int = 0, length: int = 4) -> bytes:
    """x times a weight that lies in another file."""
    weight = helper.make_tensor("w", TensorProto.FLOAT, [1], [0.0])
    weight.ClearField("float_data")
    weight.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        weight.external_data.add(key=key, value=str(value))
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N"])],
        [weight],
    )
    opsets = [helper.make_opsetid("", 18)]
    content = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    return bytes(content.SerializeToString())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "models" / "1"
    (made / "deep").mkdir(parents=True)
    secret = np.array([7], np.float32).tobytes()
    (tmp_path / "secret.bin").write_bytes(secret)
    (tmp_path / "models" / "secret.bin").write_bytes(secret)
    for path in ("weights.bin", "deep/weights.bin"):
        (made / path).write_bytes(np.array([3], np.float32).tobytes())
    (made / "link.bin").symlink_to(tmp_path / "secret.bin")
    (made / "chain.bin").symlink_to("link.bin")
    (made / "out").symlink_to(tmp_path, target_is_directory=True)
    return made


@pytest.mark.parametrize("location", ["weights.bin", "deep/weights.bin", "./weights.bin"])
def test_data_beside_the_model_is_read(folder: Path, location: str) -> None:
    (folder / "model.onnx").write_bytes(model(location))
    session = open_session(folder / "model.onnx", CPU)
    assert session.run({"x": np.ones(1, np.float32)})[0].tolist() == [3]


@pytest.mark.parametrize(
    "location",
    [
        "../secret.bin",
        "deep/../../secret.bin",
        "link.bin",
        "chain.bin",
        "out/secret.bin",
        "ABSOLUTE",
        "/etc/hostname",
        "/proc/self/environ",
        "*/_ORT_MEM_ADDR_/*",
        "absent.bin",
        "",
        ".",
    ],
)
def test_data_elsewhere_is_not(folder: Path, location: str) -> None:
    if location == "ABSOLUTE":
        location = str(folder.parent / "secret.bin")
    (folder / "model.onnx").write_bytes(model(location))
    with pytest.raises(InvalidArgument, match="ONNX Runtime cannot load this model"):
        open_session(folder / "model.onnx", CPU)


@pytest.mark.parametrize(("offset", "length"), [(2, 4), (4, 4), (-4, 4), (2**62, 4), (0, 2**40)])
def test_data_beyond_its_file_is_not_read(folder: Path, offset: int, length: int) -> None:
    (folder / "model.onnx").write_bytes(model("weights.bin", offset, length))
    with pytest.raises(InvalidArgument):
        open_session(folder / "model.onnx", CPU)


@pytest.mark.parametrize("location", ["secret.bin", "/etc/hostname"])
def test_a_model_of_bytes_has_no_folder(
    tmp_path: Path, folder: Path, location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidArgument):
        open_session(model(location), CPU)
