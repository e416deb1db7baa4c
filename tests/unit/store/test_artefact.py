from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from wintergarden.errors import DataLoss
from wintergarden.store import ModelStore, open_store

Publish = Callable[..., int]


def corrupt(content: bytes) -> bytes:
    return content[:10] + bytes([content[10] ^ 1]) + content[11:]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.mark.parametrize("spoil", [corrupt, lambda b: b[:-1], lambda b: b + b"x", lambda _: b""])
def test_a_changed_file_is_named_with_both_digests(
    root: Path, publish: Publish, spoil: Callable[[bytes], bytes]
) -> None:
    store = open_store(str(root))
    publish(store, "net")
    file = root / "models/net/1/model.onnx"
    file.write_bytes(spoil(file.read_bytes()))
    artefact = store.fetch("net", 1)
    for use in (artefact.path, artefact.read):
        with pytest.raises(DataLoss) as caught:
            use("model.onnx")
        assert caught.value.message.startswith(
            f"model.onnx of net/1 is corrupt: expected sha256 {artefact.manifest.digest} in "
        )
        assert "bytes, got " in caught.value.message


def test_a_missing_file_is_named(root: Path, publish: Publish) -> None:
    store = open_store(str(root))
    publish(store, "net")
    (root / "models/net/1/model.onnx").unlink()
    artefact = store.fetch("net", 1)
    for use in (artefact.path, artefact.read):
        with pytest.raises(DataLoss, match=r"model\.onnx of net/1 is missing"):
            use("model.onnx")


def test_one_corrupt_file_does_not_spoil_the_others(root: Path, publish: Publish) -> None:
    store = open_store(str(root))
    publish(store, "net", golden_npz=b"golden")
    (root / "models/net/1/golden.npz").write_bytes(b"x")
    artefact = store.fetch("net", 1)
    artefact.path("model.onnx")
    with pytest.raises(DataLoss, match=r"golden\.npz"):
        artefact.path("golden.npz")


def test_files_of_a_directory_are_not_copied(root: Path, publish: Publish) -> None:
    store = open_store(str(root))
    publish(store, "net")
    assert store.fetch("net", 1).path("model.onnx") == root / "models/net/1/model.onnx"


def test_a_file_swapped_after_it_was_verified_is_not_read(root: Path, publish: Publish) -> None:
    store = open_store(str(root))
    publish(store, "net")
    artefact = store.fetch("net", 1)
    path = artefact.path("model.onnx")
    path.write_bytes(corrupt(path.read_bytes()))
    with pytest.raises(DataLoss, match="is corrupt"):
        artefact.read("model.onnx")


def test_a_link_out_of_the_store_is_verified_like_any_file(
    root: Path, publish: Publish, tmp_path: Path
) -> None:
    store = open_store(str(root))
    publish(store, "net")
    (tmp_path / "secret").write_text("secret")
    (root / "models/net/1/model.onnx").unlink()
    (root / "models/net/1/model.onnx").symlink_to(tmp_path / "secret")
    with pytest.raises(DataLoss, match="is corrupt"):
        store.fetch("net", 1).read("model.onnx")


@pytest.fixture
def bucket(s3_uri: str, tmp_path: Path) -> ModelStore:
    return open_store(s3_uri, tmp_path / "cache")


def test_the_cache_is_addressed_by_digest_and_used(
    bucket: ModelStore, publish: Publish, tmp_path: Path
) -> None:
    publish(bucket, "net")
    publish(bucket, "net")
    first, second = (bucket.fetch("net", v).path("model.onnx") for v in (1, 2))
    assert first == second == tmp_path / "cache" / bucket.read_manifest("net", 1).digest
    inode = first.stat().st_ino
    assert bucket.fetch("net", 1).path("model.onnx").stat().st_ino == inode
    assert [p.name for p in (tmp_path / "cache").iterdir()] == [first.name]


def test_a_spoilt_cache_is_filled_again(bucket: ModelStore, publish: Publish, relu: bytes) -> None:
    publish(bucket, "net")
    path = bucket.fetch("net", 1).path("model.onnx")
    path.write_bytes(b"spoilt")
    assert bucket.fetch("net", 1).path("model.onnx").read_bytes() == relu


def test_a_spoilt_object_never_reaches_the_cache(
    bucket: ModelStore, publish: Publish, tmp_path: Path
) -> None:
    publish(bucket, "net")
    bucket._objects.put("models/net/1/model.onnx", b"spoilt and much longer than it was" * 9)
    with pytest.raises(DataLoss, match=r"model\.onnx of net/1 is corrupt"):
        bucket.fetch("net", 1).path("model.onnx")
    assert list((tmp_path / "cache").iterdir()) == []
    bucket._objects.delete("models/net/1/model.onnx")
    with pytest.raises(DataLoss, match=r"model\.onnx of net/1 is missing"):
        bucket.fetch("net", 1).read("model.onnx")


def test_a_copy_is_verified_on_the_way(
    root: Path, publish: Publish, relu: bytes, tmp_path: Path
) -> None:
    store = open_store(str(root))
    artefact = store.fetch("net", publish(store, "net"))
    with (tmp_path / "copy").open("w+b") as file:
        artefact.copy("model.onnx", file.fileno())
    assert (tmp_path / "copy").read_bytes() == relu
    original = root / "models/net/1/model.onnx"
    for spoilt in (relu[:-1], relu + b"x", relu[:-1] + b"\0"):
        original.write_bytes(spoilt)
        with (tmp_path / "copy").open("w+b") as file, pytest.raises(DataLoss, match="is corrupt"):
            artefact.copy("model.onnx", file.fileno())
    original.unlink()
    with (tmp_path / "copy").open("w+b") as file, pytest.raises(DataLoss, match="is missing"):
        artefact.copy("model.onnx", file.fileno())
