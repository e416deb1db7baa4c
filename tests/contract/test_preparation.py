"""The process that prepares a data set, as its supervisor sees it."""

from __future__ import annotations

import hashlib
import io
import json
import signal
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from trainer.data.registry import load
from trainer.testing_child import child
from wintergarden.store.datasets import open_datasets

FLOWERS = "petal,species\n" + "".join(f"{n},{'rose' if n % 2 else 'iris'}\n" for n in range(60))


def keep(folder: Path, content: bytes) -> str:
    sha256 = hashlib.sha256(content).hexdigest()
    file = folder / "upload"
    file.write_bytes(content)
    open_datasets(str(folder / "store")).uploads.keep(file, sha256)
    return sha256


def order(folder: Path, upload: str, **changes: Any) -> dict[str, Any]:
    return {
        "kind": "prepare",
        "job_id": "job-1",
        "name": "flowers",
        "upload": upload,
        "format": "csv",
        "options": {"label": "species"},
        "store_uri": str(folder / "store"),
    } | changes


def npz(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def pictures(count: int) -> bytes:
    drawn = io.BytesIO()
    Image.new("L", (8, 8)).save(drawn, "PNG")
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number in range(count):
            archive.writestr(f"{'ab'[number % 2]}/{number}.png", drawn.getvalue())
    return buffer.getvalue()


def test_nothing_is_visible_before_it_is_allowed_nor_where_it_is_not(tmp_path: Path) -> None:
    upload = keep(tmp_path, FLOWERS.encode())
    store = open_datasets(str(tmp_path / "store"))
    for may_publish in (False, True):
        with child(order(tmp_path, upload)) as preparing:
            assert preparing.hear("publish?")["version"] == 0
            assert store.names() == {}
            preparing.send({"publish": may_publish})
            ended = preparing.hear("result", "error")
            assert preparing.process.wait(20) == (0 if may_publish else 1)
    assert ended["metrics"] == {"examples": 60.0, "classes": 2.0, "warnings": 0.0}
    assert list(store.names()) == ["flowers"]


def test_an_attempt_after_a_kill_makes_the_very_same_data_set(tmp_path: Path) -> None:
    digests = []
    for attempt in ("undisturbed", "killed"):
        folder = tmp_path / attempt
        folder.mkdir()
        upload = keep(folder, FLOWERS.encode())
        if attempt == "killed":
            with child(order(folder, upload)) as preparing:
                preparing.hear("publish?")
                preparing.process.kill()
                preparing.process.wait(20)
        with child(order(folder, upload)) as preparing:
            preparing.hear("publish?")
            preparing.send({"publish": True})
            preparing.hear("result")
        digests.append(open_datasets(str(folder / "store")).names()["flowers"])
    assert digests[0] == digests[1]


def test_parts_of_a_sorted_file_are_stored_shuffled(tmp_path: Path) -> None:
    rows = [f"{n},{'rose' if n >= 300 else 'iris'}" for n in range(600)]
    upload = keep(tmp_path, "\n".join(["petal,species", *rows]).encode())
    with child(order(tmp_path, upload)) as preparing:
        preparing.hear("publish?")
        preparing.send({"publish": True})
        preparing.hear("result")
    dataset = load("flowers", open_datasets(str(tmp_path / "store")))
    for part in (dataset.train, dataset.validation, dataset.test):
        first = part.labels[: len(part) // 2]
        assert 0.3 < first.mean() < 0.7
        np.testing.assert_array_equal(part.labels, part.inputs[:, 0] >= 300)


def test_it_stops_between_two_pictures(tmp_path: Path) -> None:
    upload = keep(tmp_path, pictures(5_000))
    asked = order(tmp_path, upload, format="images", options={})
    with child(asked) as preparing:
        while preparing.hear("progress")["fraction"] <= 0.1:
            pass
        preparing.process.send_signal(signal.SIGTERM)
        assert preparing.hear("error") == {
            "type": "error", "kind": "cancelled", "reason": "terminated",
        }  # fmt: skip
    assert open_datasets(str(tmp_path / "store")).names() == {}


@pytest.mark.parametrize(
    ("content", "changes", "reason"),
    [
        (
            npz(x=np.array([[1], [None]], dtype=object), y=np.array([0, 1])),
            {"format": "npz", "options": {}},
            "array 'x' holds Python objects (a pickle)",
        ),
        (b"", {}, "the file is empty"),
        (FLOWERS.encode(), {"format": "images"}, "the file is no ZIP archive"),
        (FLOWERS.encode(), {"format": "xls"}, "format 'xls' is not known"),
        (FLOWERS.encode(), {"options": {"missing": "zero"}}, "option missing: Input should be"),
        (FLOWERS.encode(), {"name": "../x"}, "data set name '../x' is not allowed"),
        (FLOWERS.encode(), {"upload": "0" * 64}, f"no upload with sha256 {'0' * 64}"),
        (FLOWERS.encode(), {"name": 3}, "order name: Input should be a valid string, got 3"),
    ],
    ids=["pickle", "empty", "format", "unknown format", "option", "name", "upload", "order"],
)
def test_what_will_not_do_is_not_tried_again(
    tmp_path: Path, content: bytes, changes: dict[str, Any], reason: str
) -> None:
    asked = order(tmp_path, keep(tmp_path, content)) | changes
    with child(json.loads(json.dumps(asked))) as preparing:
        error = preparing.hear("error")
        assert preparing.process.wait(20) == 1
    assert error["kind"] == "invalid"
    assert reason in error["reason"]
