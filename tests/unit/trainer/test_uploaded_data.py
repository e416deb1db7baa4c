"""What users uploaded, as a recipe gets it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.data.dataset import Array, DatasetInfo
from trainer.data.prepared import read_prepared, write_prepared
from trainer.data.registry import describe, load
from wintergarden.errors import DataLoss, NotFound
from wintergarden.store.cache import fingerprint
from wintergarden.store.dataset_manifest import DatasetManifest
from wintergarden.store.datasets import PREPARED, DatasetStore, open_datasets
from wintergarden.store.manifest import FileInfo

PARTS = ("train", "validation", "test")
LABELS = np.array([0, 1, 0, 1], np.int64)


def info(sizes: int = 4, shape: tuple[int, ...] = (2,)) -> DatasetInfo:
    return DatasetInfo(
        name="flowers", summary="", source="", task="tabular-classification",
        input_name="x", input_shape=shape, units="", value_range=None, class_labels=("a", "b"),
        split_sizes=dict.fromkeys(PARTS, sizes),
    )  # fmt: skip


def publish(store: DatasetStore, folder: Path, inputs: Array) -> str:
    path = folder / PREPARED
    write_prepared(path, {part: (inputs, LABELS) for part in PARTS})
    manifest = DatasetManifest(
        task="tabular-classification", source="a test", input_name="features",
        input_shape=inputs.shape[1:], units="cm", class_labels=("a", "b"),
        split_sizes=dict.fromkeys(PARTS, 4), feature_names=("x", "y"),
        files={PREPARED: fingerprint(path)}, upload=FileInfo(sha256="0" * 64, bytes=1),
        format="npz", options={}, report={},
    )  # fmt: skip
    return store.publish("flowers", manifest, path).digest


def test_by_name_and_by_digest(tmp_path: Path) -> None:
    store = open_datasets(str(tmp_path / "store"))
    inputs = np.arange(8, dtype=np.float32).reshape(4, 2)
    digest = publish(store, tmp_path, inputs)
    for name in ("flowers", f"sha256:{digest}", f"flowers@sha256:{digest}"):
        described = describe(name, store)
        assert described.feature_names == ("x", "y")
        dataset = load(name, store)
        assert dataset.info == described
        assert dataset.digest == digest
        np.testing.assert_array_equal(dataset.test.inputs, inputs)
        np.testing.assert_array_equal(dataset.train.labels, LABELS)
    assert describe("flowers", store).name == "flowers"
    assert load("wine", store).info.uploaded_digest == ""


def test_an_unknown_one_names_the_uploaded_too(tmp_path: Path) -> None:
    store = open_datasets(str(tmp_path / "store"))
    publish(store, tmp_path, np.zeros((4, 2), np.float32))
    with pytest.raises(NotFound, match=r"'cifar'; there are .*, wine, flowers"):
        load("cifar", store)
    with pytest.raises(NotFound, match="it was deleted"):
        describe(f"sha256:{'0' * 64}", store)


def test_bytes_become_intensities(tmp_path: Path) -> None:
    pictures = np.array([0, 51, 102, 255], np.uint8).reshape(4, 1, 1, 1)
    write_prepared(tmp_path / PREPARED, {part: (pictures, LABELS) for part in PARTS})
    inputs = read_prepared(tmp_path / PREPARED, info(shape=(1, 1, 1))).train.inputs
    assert inputs.dtype == np.float32
    np.testing.assert_allclose(inputs.ravel(), [0, 0.2, 0.4, 1], rtol=1e-6)


@given(texts=st.lists(st.text(), min_size=4, max_size=4))
def test_texts_survive_the_file(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    path = tmp_path_factory.mktemp("texts") / PREPARED
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:  # a lone surrogate is in no file that was read as UTF-8
        return
    inputs = np.empty(4, dtype=object)
    inputs[:] = texts
    write_prepared(path, {part: (inputs, LABELS) for part in PARTS})
    assert read_prepared(path, info(shape=())).test.inputs.tolist() == texts


def test_a_file_that_is_another_data_sets_is_refused(tmp_path: Path) -> None:
    path = tmp_path / PREPARED
    write_prepared(path, {part: (np.zeros((4, 2), np.float32), LABELS) for part in PARTS})
    with pytest.raises(DataLoss, match=r"has .*4.* examples, not .*5"):
        read_prepared(path, info(sizes=5))
    write_prepared(path, {"train": (np.zeros((4, 2), np.float32), LABELS)})
    with pytest.raises(DataLoss, match="is not whole"):
        read_prepared(path, info())
