"""Uploads, data sets and their names, on each kind of storage."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from wintergarden.errors import Cancelled, DataLoss, InvalidArgument, NotFound, Unsupported
from wintergarden.store import datasets
from wintergarden.store.cache import fingerprint
from wintergarden.store.dataset_manifest import DatasetManifest, digest_of, parse_dataset
from wintergarden.store.datasets import PREPARED, DatasetStore, open_datasets
from wintergarden.store.manifest import FileInfo


@pytest.fixture(params=["directory", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> DatasetStore:
    if request.param == "directory":
        return open_datasets(str(tmp_path / "store"))
    return open_datasets(request.getfixturevalue("s3_uri"), tmp_path / "cache")


@pytest.fixture
def write(tmp_path: Path) -> Callable[[bytes], Path]:
    def write(content: bytes) -> Path:
        path = tmp_path / f"{hashlib.sha256(content).hexdigest()}.part"
        path.write_bytes(content)
        return path

    return write


def manifest(prepared: Path, upload: bytes = b"raw", **changes: object) -> DatasetManifest:
    sha256 = hashlib.sha256(upload).hexdigest()
    fields = {
        "task": "tabular-classification",
        "source": "a test",
        "input_name": "features",
        "input_shape": (2,),
        "units": "cm",
        "class_labels": ("a", "b"),
        "split_sizes": {"train": 6, "validation": 2, "test": 2},
        "files": {PREPARED: fingerprint(prepared)},
        "upload": FileInfo(sha256=sha256, bytes=len(upload)),
        "format": "csv",
        "options": {"label": "species"},
        "report": {"warnings": []},
    }
    return DatasetManifest(**(fields | changes))  # type: ignore[arg-type]


def keep(store: DatasetStore, write: Callable[[bytes], Path], content: bytes = b"raw") -> str:
    sha256 = hashlib.sha256(content).hexdigest()
    store.uploads.keep(write(content), sha256)
    return sha256


def test_an_upload_is_what_its_digest_says(
    store: DatasetStore, write: Callable[[bytes], Path]
) -> None:
    sha256 = keep(store, write)
    assert store.uploads.fetch(sha256).read_bytes() == b"raw"
    assert store.uploads.find(sha256) == FileInfo(sha256=sha256, bytes=3)
    other = "0" * 64
    assert store.uploads.find(other) is None
    with pytest.raises(NotFound, match=f"no upload with sha256 {other}"):
        store.uploads.fetch(other)
    with pytest.raises(DataLoss, match="changed while it was stored"):
        store.uploads.keep(write(b"raw"), other)
    assert store.uploads.find(other) is None


def test_a_data_set_from_its_name_to_its_examples(
    store: DatasetStore, write: Callable[[bytes], Path]
) -> None:
    prepared = write(b"examples")
    published = store.publish("flowers", manifest(prepared), prepared)
    assert published.digest == digest_of(manifest(prepared).to_json())
    for reference, name in (
        ("flowers", "flowers"),
        (f"sha256:{published.digest}", f"sha256:{published.digest}"),
        (f"flowers@sha256:{published.digest}", "flowers"),
    ):
        found = store.find(reference)
        assert (found.name, found.digest) == (name, published.digest)
        assert found.manifest == manifest(prepared)
        assert store.fetch(found).read_bytes() == b"examples"
    assert store.names() == {"flowers": published.digest}


def test_a_name_moves_on_and_the_digest_stays(
    store: DatasetStore, write: Callable[[bytes], Path]
) -> None:
    first, second = write(b"first"), write(b"second")
    old = store.publish("flowers", manifest(first), first)
    new = store.publish("flowers", manifest(second), second)
    assert store.find("flowers").digest == new.digest != old.digest
    assert store.fetch(store.find(f"sha256:{old.digest}")).read_bytes() == b"first"
    again = store.publish("flowers", manifest(second), second)
    assert again == new


def test_what_may_not_be_published_has_no_name(
    store: DatasetStore, write: Callable[[bytes], Path]
) -> None:
    prepared = write(b"examples")
    with pytest.raises(Cancelled, match="'flowers' may not be published"):
        store.publish("flowers", manifest(prepared), prepared, lambda: False)
    assert store.names() == {}
    with pytest.raises(NotFound, match="no uploaded data set 'flowers'; there are none"):
        store.find("flowers")


def test_deleting_the_last_name_deletes_everything(
    store: DatasetStore, write: Callable[[bytes], Path]
) -> None:
    sha256 = keep(store, write)
    prepared = write(b"examples")
    digest = store.publish("flowers", manifest(prepared), prepared).digest
    store.publish("blossoms", manifest(prepared), prepared)
    other = write(b"other")
    store.publish("others", manifest(other), other)

    assert store.delete("flowers") == digest
    assert store.find("blossoms").digest == digest
    store.delete("blossoms")
    with pytest.raises(NotFound, match="it was deleted"):
        store.find(f"sha256:{digest}")
    assert store.uploads.find(sha256), "another data set was made of it"
    store.delete("others")
    assert store.uploads.find(sha256) is None
    with pytest.raises(NotFound, match="no uploaded data set 'others'"):
        store.delete("others")


def test_uploads_that_nothing_was_made_of_are_dropped_when_old(
    store: DatasetStore, write: Callable[[bytes], Path]
) -> None:
    used, unused = keep(store, write), keep(store, write, b"unused")
    prepared = write(b"examples")
    store.publish("flowers", manifest(prepared), prepared)
    assert store.drop_unused_uploads() == []
    assert store.drop_unused_uploads(older_than_s=-1) == [unused]
    assert store.uploads.find(unused) is None
    assert store.uploads.find(used)


def test_names_given_at_once_are_all_counted(
    store: DatasetStore, write: Callable[[bytes], Path]
) -> None:
    files = [write(bytes([number])) for number in range(4)]
    threads = [
        threading.Thread(target=store.publish, args=("flowers", manifest(file), file))
        for file in files
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    key = "datasets/names/flowers.json"
    assert b'"revision": 4' in store._objects.read(key, 1000)
    assert store.find("flowers").digest in {digest_of(manifest(f).to_json()) for f in files}


def test_a_name_given_while_the_last_one_is_taken_away_keeps_the_data_set(
    store: DatasetStore, write: Callable[[bytes], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared = write(b"examples")
    store.publish("flowers", manifest(prepared), prepared)
    names = store.names
    other = threading.Thread(target=store.publish, args=("blooms", manifest(prepared), prepared))

    def look_too_early() -> dict[str, str]:
        found = names()
        if other.ident is None:
            other.start()
            while "blooms" not in names():
                time.sleep(0.01)
        return found

    monkeypatch.setattr(store, "names", look_too_early)
    store.delete("flowers")
    other.join()
    assert list(store.names()) == ["blooms"]
    assert store.fetch(store.find("blooms")).read_bytes() == b"examples"


def test_who_died_over_a_deletion_keeps_others_waiting_for_a_while_only(
    store: DatasetStore, write: Callable[[bytes], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets, "_DELETION_S", 0.1)
    prepared = write(b"examples")
    digest = store.publish("flowers", manifest(prepared), prepared).digest
    store._objects.put(f"datasets/deletions/{digest}-0123", b"")
    store._objects.delete(f"datasets/{digest}/dataset.json")
    published = store.publish("blooms", manifest(prepared), prepared)
    assert store.fetch(published).read_bytes() == b"examples"
    assert store._objects.keys("datasets/deletions") == []


def test_what_was_tampered_with_is_said(tmp_path: Path, write: Callable[[bytes], Path]) -> None:
    root = tmp_path / "store"
    store = open_datasets(str(root))
    sha256 = keep(store, write)
    prepared = write(b"examples")
    digest = store.publish("flowers", manifest(prepared), prepared).digest
    (root / "datasets" / digest / PREPARED).write_bytes(b"exampleZ")
    with pytest.raises(DataLoss, match=r"prepared.npz is corrupt"):
        store.fetch(store.find("flowers"))
    (root / "datasets" / digest / PREPARED).unlink()
    with pytest.raises(DataLoss, match=r"prepared.npz of data set 'flowers' is missing"):
        store.fetch(store.find("flowers"))
    (root / f"datasets/uploads/{sha256}/file").write_bytes(b"RAW")
    with pytest.raises(DataLoss, match="is corrupt"):
        store.uploads.fetch(sha256)
    (root / "datasets" / digest / "dataset.json").write_bytes(b"{}")
    fresh = open_datasets(str(root))
    with pytest.raises(DataLoss, match=r"dataset.json .* is corrupt"):
        fresh.find("flowers")
    assert fresh.list() == [], "one that cannot be read hides no others"
    assert fresh.delete("flowers") == digest, "nor does it stay for ever"


@pytest.mark.parametrize("name", ["", "../x", "a/b", ".hidden", "a" * 65, "a b", "a@b", "a\0"])
def test_names_that_are_none(tmp_path: Path, write: Callable[[bytes], Path], name: str) -> None:
    store = open_datasets(str(tmp_path / "store"))
    prepared = write(b"examples")
    with pytest.raises(InvalidArgument, match="data set name"):
        store.publish(name, manifest(prepared), prepared)
    with pytest.raises(InvalidArgument):
        store.find(name)
    with pytest.raises(InvalidArgument):
        store.delete(name)
    assert not (tmp_path / "store").exists()


def test_a_digest_is_no_name_to_delete(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="is no name"):
        open_datasets(str(tmp_path)).delete(f"sha256:{'0' * 64}")


def test_a_later_release_is_not_misread(tmp_path: Path, write: Callable[[bytes], Path]) -> None:
    text = manifest(write(b"x")).to_json().replace(b'"schema_version": 1', b'"schema_version": 2')
    with pytest.raises(Unsupported, match="schema version 2, this release reads 1; upgrade"):
        parse_dataset(text, digest_of(text))


FULL_DISK = """
import hashlib, resource, sys
from pathlib import Path
from wintergarden.errors import StorageFull
from wintergarden.store.cache import fingerprint
from wintergarden.store.dataset_manifest import DatasetManifest
from wintergarden.store.datasets import PREPARED, open_datasets
from wintergarden.store.manifest import FileInfo

folder = Path(sys.argv[1])
store = open_datasets(str(folder / "store"))
file = folder / "file"
file.write_bytes(b"x" * 2_000)
info = fingerprint(file)
manifest = DatasetManifest(
    task="tabular-classification", source="", input_name="x", input_shape=(1,), units="",
    class_labels=("a", "b"), split_sizes={}, files={PREPARED: info}, upload=info, format="csv",
    options={}, report={},
)
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
for limit in (1_000, hard):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    for work in (
        lambda: store.uploads.keep(file, info.sha256),
        lambda: store.publish("flowers", manifest, file),
    ):
        try:
            work()
        except StorageFull as error:
            print("full", error.message[:8])
    print(bool(store.uploads.find(info.sha256)), list(store.names()))
"""


def test_a_full_disk_shows_nothing_and_works_again_with_space(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == [
        "full no space", "full no space", "False []", "True ['flowers']",
    ]  # fmt: skip
