"""ModelsService through a running gateway: uploads, imports, and what it says about models."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from wintergarden.wire.pool import methods

METHODS = methods("wintergarden.v1.ModelsService")


@pytest.fixture
def deployment(deploy: Callable[[str], Any]) -> Any:
    return deploy("client")


@pytest.fixture(scope="module")
def onnx_file() -> bytes:
    """A linear model of 3 features and 2 classes."""
    weights = numpy_helper.from_array(np.ones((3, 2), np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
        [weights],
    )
    opsets = [helper.make_opsetid("", 18)]
    content: bytes = helper.make_model(
        graph, opset_imports=opsets, ir_version=9
    ).SerializeToString()
    return content


def ask(deployment: Any, method_name: str, /, **fields: Any) -> Any:
    method = METHODS[method_name]
    call = deployment.channel.unary_unary(
        method.path, method.request.SerializeToString, method.response.FromString
    )
    return call(method.request(**fields), timeout=60)


def refusal(call: Callable[[], Any]) -> Any:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value


def upload(deployment: Any, content: bytes, upload_id: str = "upload-1", size: int = 100) -> str:
    for at in range(0, len(content), size):
        held = ask(
            deployment, "UploadModel", upload_id=upload_id, offset=at, chunk=content[at : at + size]
        ).held_bytes
        assert held == min(at + size, len(content))
    return hashlib.sha256(content).hexdigest()


def test_an_import_from_chunks_to_deletion(deployment: Any, onnx_file: bytes) -> None:
    digest = upload(deployment, onnx_file)
    model = ask(
        deployment,
        "ImportModel",
        name="foreign",
        upload_id="upload-1",
        sha256=digest,
        class_labels=["cold", "warm"],
        value_range=[0.0, 1.0],
    ).model
    assert (model.name, model.version, model.digest) == ("foreign", 1, digest)
    assert not model.is_verified
    manifest = json.loads(model.manifest_json)
    assert manifest["class_labels"] == ["cold", "warm"]
    assert manifest["inputs"][0]["shape"] == [-1, 3]

    (summary,) = ask(deployment, "ListModels").models
    assert (summary.name, list(summary.versions)) == ("foreign", [1])
    for version in (0, 1):
        described = ask(deployment, "DescribeModel", name="foreign", version=version).model
        assert described == model

    # The upload is used up.
    again = {"name": "foreign", "upload_id": "upload-1", "sha256": digest}
    assert refusal(lambda: ask(deployment, "ImportModel", **again)).code().name == "NOT_FOUND"
    assert list(ask(deployment, "DeleteModel", name="foreign").deleted_versions) == [1]
    assert list(ask(deployment, "ListModels").models) == []


def test_an_upload_goes_on_where_it_broke_off(deployment: Any) -> None:
    ask(deployment, "UploadModel", upload_id="upload-2", offset=0, chunk=b"abc")
    gap = {"upload_id": "upload-2", "offset": 5, "chunk": b"x"}
    error = refusal(lambda: ask(deployment, "UploadModel", **gap))
    assert error.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert "holds 3 bytes" in error.details()
    answer = ask(deployment, "UploadModel", upload_id="upload-2", offset=3, chunk=b"def")
    assert answer.held_bytes == 6


def test_an_upload_is_bounded(deployment: Any) -> None:
    over = {"upload_id": "upload-3", "offset": 999_999, "chunk": b"xy"}
    error = refusal(lambda: ask(deployment, "UploadModel", **over))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "1000000" in error.details()


@pytest.mark.parametrize("name", ["../escape", "a/b", "", "a\x00b"])
def test_names_cannot_leave_the_store(deployment: Any, onnx_file: bytes, name: str) -> None:
    digest = upload(deployment, onnx_file)
    fields = {"name": name, "upload_id": "upload-1", "sha256": digest}
    error = refusal(lambda: ask(deployment, "ImportModel", **fields))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    for method in ("DescribeModel", "DeleteModel"):
        error = refusal(lambda method=method: ask(deployment, method, name=name))
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    "content", [b"", b"no model", b"\x08\x09" * 1000], ids=["empty", "text", "bytes"]
)
def test_what_is_no_model_is_not_imported(deployment: Any, content: bytes) -> None:
    ask(deployment, "UploadModel", upload_id="upload-1", offset=0, chunk=content)
    fields = {"name": "m", "upload_id": "upload-1", "sha256": hashlib.sha256(content).hexdigest()}
    error = refusal(lambda: ask(deployment, "ImportModel", **fields))
    assert error.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNIMPLEMENTED)
    assert list(ask(deployment, "ListModels").models) == []


def test_another_digest_or_range_is_refused(deployment: Any, onnx_file: bytes) -> None:
    digest = upload(deployment, onnx_file)
    wrong = {"name": "m", "upload_id": "upload-1", "sha256": "0" * 64}
    assert digest in refusal(lambda: ask(deployment, "ImportModel", **wrong)).details()
    for value_range in ([0.0], [0.0, 1.0, 2.0], [1.0, 0.0], [0.0, float("nan")]):
        fields = {
            "name": "m", "upload_id": "upload-1", "sha256": digest, "value_range": value_range,
        }  # fmt: skip
        error = refusal(lambda fields=fields: ask(deployment, "ImportModel", **fields))
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert "value_range" in error.details()


def test_no_such_model(deployment: Any) -> None:
    for fields in ({"name": "nothing"}, {"name": "nothing", "version": 3}):
        error = refusal(lambda fields=fields: ask(deployment, "DescribeModel", **fields))
        assert error.code() == grpc.StatusCode.NOT_FOUND


def test_one_unreadable_manifest_hides_no_other_model(
    deployment: Any, onnx_file: bytes, tmp_path: Path
) -> None:
    for name in ("sound", "spoilt"):
        digest = upload(deployment, onnx_file, upload_id=f"upload-{name}")
        ask(deployment, "ImportModel", name=name, upload_id=f"upload-{name}", sha256=digest)
    (tmp_path / "store/models/spoilt/1/manifest.json").write_bytes(b"{")

    listed = {model.name: model for model in ask(deployment, "ListModels").models}
    assert set(listed) == {"sound", "spoilt"}
    assert listed["sound"].architecture
    assert list(listed["spoilt"].versions) == [1]
    assert "manifest.json of spoilt/1" in listed["spoilt"].problem


def test_labels_are_set_shown_and_guarded(deployment: Any, onnx_file: bytes) -> None:
    for number in (1, 2):
        digest = upload(deployment, onnx_file, upload_id=f"upload-{number}")
        ask(deployment, "ImportModel", name="m", upload_id=f"upload-{number}", sha256=digest)
    wanted = {"labels": {"stable": 1, "canary": 2}, "split": {"stable": 0.9, "canary": 0.1}}
    set_now = ask(deployment, "LabelModel", name="m", labels={**wanted, "shadow": 2}).labels
    assert set_now.revision == 1
    described = ask(deployment, "DescribeModel", name="m", version=1).labels
    assert described == set_now
    assert dict(described.labels) == wanted["labels"]

    stale = refusal(lambda: ask(deployment, "LabelModel", name="m", labels=wanted))
    assert stale.code() == grpc.StatusCode.FAILED_PRECONDITION
    for labels in ({"labels": {"3": 1}}, {"labels": {"a": 1}, "split": {"a": 0.5}}):
        error = refusal(
            lambda labels=labels: ask(deployment, "LabelModel", name="m", labels=labels)
        )
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    missing = {"labels": {"a": 9}, "revision": 1}
    error = refusal(lambda: ask(deployment, "LabelModel", name="m", labels=missing))
    assert error.code() == grpc.StatusCode.NOT_FOUND

    error = refusal(lambda: ask(deployment, "DeleteModel", name="m", version=1))
    assert error.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert "is called stable" in error.details()
    assert list(ask(deployment, "DeleteModel", name="m").deleted_versions) == [1, 2]
