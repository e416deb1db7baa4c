"""A table whose label column is numbers to learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from trainer.data.dataset import DatasetInfo
from trainer.data.prepared import read_prepared, write_prepared
from trainer.preparation.prepare import arrange, describe, read
from wintergarden.errors import InvalidArgument
from wintergarden.store.manifest import FileInfo
from wintergarden.store.preparation import make_options

OPTIONS = make_options({"task": "regression", "label": "y"})


def written(path: Path, rows: list[str]) -> Path:
    file = path / "values.csv"
    file.write_text("\n".join(["x,kind,y", *rows]) + "\n")
    return file


def test_a_table_of_values_goes_to_the_trainer_whole(tmp_path: Path) -> None:
    rows = [f"{i / 10},{'ab'[i % 2]},{i * i / 7:.4f}" for i in range(40)]
    examples = read(written(tmp_path, rows), "csv", OPTIONS, lambda done: None)
    prepared = arrange(examples, OPTIONS)
    nothing = FileInfo(sha256="0" * 64, bytes=0)
    manifest = describe(prepared, {}, nothing, "csv", OPTIONS)
    assert (manifest.task, manifest.class_labels) == ("regression", ("y",))
    assert manifest.split_sizes == {"train": 28, "validation": 4, "test": 8}
    assert manifest.summary == "40 rows of 3 features and their values"
    report = prepared.report
    assert report["classes"] == []
    assert report["values"][0]["most"] == pytest.approx(39 * 39 / 7, rel=1e-4)
    parts = {
        part: (prepared.inputs[prepared.parts == n], examples.labels[prepared.parts == n])
        for part, n in (("train", 0), ("validation", 1), ("test", 2))
    }
    write_prepared(tmp_path / "prepared.npz", parts)
    info = DatasetInfo(
        name="values", summary="", source="", task="regression", input_name="features",
        input_shape=(3,), units="", value_range=None, class_labels=("y",),
        split_sizes=dict(manifest.split_sizes),
    )  # fmt: skip
    dataset = read_prepared(tmp_path / "prepared.npz", info)
    assert dataset.train.labels.dtype == np.float32
    assert dataset.test.labels.shape == (8, 1)
    x, y = dataset.test.inputs[:, 0], dataset.test.labels[:, 0]
    np.testing.assert_allclose(y, (10 * x) ** 2 / 7, atol=1e-3)


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        (["1,a,2", "2,b,"], "no finite number in 1 of 2 rows, the first is row 3"),
        (["1,a,2", "2,b,many"], "column 'y' holds string; a regression learns numbers"),
        (["1,a,2", "2,b,1e60"], "no finite number in 1 of 2 rows, the first is row 3"),
        (["1,a,2", "2,b,3"], "2 examples are too few; 3 are needed"),
    ],
)
def test_what_is_no_value_is_refused(tmp_path: Path, rows: list[str], says: str) -> None:
    with pytest.raises(InvalidArgument, match=says):
        arrange(read(written(tmp_path, rows), "csv", OPTIONS, lambda done: None), OPTIONS)
