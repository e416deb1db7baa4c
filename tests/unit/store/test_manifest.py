from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from wintergarden.errors import DataLoss, InvalidArgument, Unsupported
from wintergarden.store import FileInfo, Lineage, Manifest, ManifestFields, TensorInfo
from wintergarden.store.manifest import complete, parse

FILE = FileInfo(sha256="0" * 64, bytes=1)


def manifest(**changes: Any) -> Manifest:
    rest = {
        "model": "lenet5",
        "version": 3,
        "files": {"model.onnx": FILE, "golden.npz": FILE},
        "created_at": datetime(2026, 1, 2, tzinfo=UTC),
    }
    return complete(fields(), **{**rest, **changes})


def fields(**changes: Any) -> ManifestFields:
    image = TensorInfo(
        name="image", datatype="FP32", shape=(-1, 1, 28, 28), units="intensity", value_range=(0, 1)
    )
    return ManifestFields(
        **{
            "architecture": "lenet5",
            "task": "image-classification",
            "inputs": (image,),
            "outputs": (TensorInfo(name="logits", datatype="FP32", shape=(-1, 10)),),
            "hyperparameters": {"epochs": 3, "augment": True, "layers": [1, 2]},
            "class_labels": ("zero", "één"),
            "metrics": {"test_accuracy": 0.99},
            "lineage": Lineage(job_id="j1", seed=7),
            **changes,
        }
    )


def test_it_survives_json_with_stable_bytes() -> None:
    written = manifest().to_json()
    assert parse(written, "lenet5", 3) == manifest()
    assert parse(written, "lenet5", 3).to_json() == written
    assert "één" in written.decode()


def test_what_it_says_of_the_served_file() -> None:
    assert manifest().digest == FILE.sha256
    assert manifest().is_verified
    assert not manifest(files={"model.onnx": FILE}).is_verified


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"files": {}}, "a version needs model.onnx"),
        ({"files": {"model.onnx": FILE, "../x": FILE}}, "files: '../x' is no name of a file"),
        ({"version": 0}, "version: Input should be greater than or equal to 1"),
        ({"model": "../x"}, "model: model name '../x' is not allowed"),
    ],
)
def test_what_is_not_published(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        manifest(**changes)
    assert message in caught.value.message


def test_golden_outputs_need_their_tolerance() -> None:
    with pytest.raises(InvalidArgument, match="needs tolerances"):
        complete(
            fields(tolerances={}),
            model="m",
            version=1,
            files={"model.onnx": FILE, "golden.npz": FILE},
            created_at=datetime.now(UTC),
        )


@pytest.mark.parametrize(
    "change",
    [
        {"shape": (-2,)},
        {"datatype": "float32"},
        {"value_range": (1.0, 0.0)},
        {"value_range": (0.0, float("inf"))},
    ],
)
def test_tensors_are_checked(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="1 validation error"):
        TensorInfo(**{"name": "x", "datatype": "FP32", "shape": (1,), **change})


def test_metrics_are_finite() -> None:
    with pytest.raises(ValueError, match="finite"):
        fields(metrics={"loss": float("nan")})


def edited(**changes: Any) -> bytes:
    return json.dumps({**json.loads(manifest().to_json()), **changes}).encode()


def test_a_field_of_a_later_release_is_ignored() -> None:
    assert parse(edited(novelty=1), "lenet5", 3) == manifest()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a manifest"),
        (b"[]", "is not a manifest"),
        (b"{}", "is not a manifest"),
        (b"\xff", "is not a manifest"),
        (b"[" * 100_000, "is not a manifest"),
        (manifest().to_json()[:-20], "is not a manifest"),
        (edited(schema_version="x"), "is not valid: schema_version"),
        (edited(files={"model.onnx": {"sha256": "../../etc", "bytes": 1}}), "files.model.onnx.sha"),
        (edited(files={"/etc/passwd": {"sha256": "0" * 64, "bytes": 1}}), "no name of a file"),
        (edited(version=4), "describes lenet5/4"),
        (edited(model="other"), "describes other/3"),
    ],
)
def test_a_tampered_manifest_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(DataLoss) as caught:
        parse(content, "lenet5", 3)
    assert caught.value.message.startswith("manifest.json of lenet5/3 ")
    assert message in caught.value.message


def test_a_later_schema_asks_for_an_upgrade() -> None:
    with pytest.raises(Unsupported, match="has schema version 2, this release reads 1; upgrade"):
        parse(edited(schema_version=2), "lenet5", 3)
