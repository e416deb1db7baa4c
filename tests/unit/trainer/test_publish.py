"""A release meets a store that is full: nothing is half-visible, and the same goes later."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from trainer.export.publish import publish
from trainer.export.release import Release
from wintergarden.errors import StorageFull
from wintergarden.store import ManifestFields, TensorInfo, open_store

X = TensorInfo(name="x", datatype="FP32", shape=(-1, 3))
FILES = {"model.onnx": b"m" * 3_000, "model.int8.onnx": b"i" * 1_000, "card/README.md": b"c" * 99}
RELEASE = Release(
    FILES, ManifestFields(architecture="a", task="unknown", inputs=(X,), outputs=(X,))
)
WRITES = 3 + len(FILES)
"""The claim, the claim again (does the storage refuse it?), the files and the manifest."""


@pytest.fixture
def fill_at(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """fill_at(n): the disk is full from its n-th file on; a full disk is often found by fsync."""
    fsync = os.fsync

    def fill_at(number: int) -> None:
        written = 0

        def full(descriptor: int) -> None:
            nonlocal written
            if Path(f"/proc/self/fd/{descriptor}").readlink().is_file():
                written += 1
                if written > number:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            fsync(descriptor)

        monkeypatch.setattr(os, "fsync", full)

    return fill_at


@pytest.mark.parametrize("number", range(WRITES))
def test_a_disk_that_is_full_at_any_file_shows_nothing_and_takes_the_release_later(
    tmp_path: Path, fill_at: Callable[[int], None], monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    store = open_store(str(tmp_path))
    fill_at(number)
    with pytest.raises(StorageFull, match=r"no space to write .* nothing was published"):
        publish(store, "net", RELEASE)
    monkeypatch.undo()
    assert store.list_models() == []
    assert [p for p in tmp_path.rglob("*") if p.is_file() and p.name != "claim.json"] == []

    manifest = publish(store, "net", RELEASE)
    assert store.list_versions("net") == [manifest.version]
    artefact = store.fetch("net", manifest.version)
    assert {name: artefact.read(name) for name in FILES} == FILES


def test_leave_is_asked_anew_for_each_number(
    tmp_path: Path, fill_at: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer for a number that was burnt is no leave for the next."""
    store = open_store(str(tmp_path))
    asked: list[int] = []

    def may_publish(version: int) -> bool:
        asked.append(version)
        return True

    fill_at(WRITES - 1)
    with pytest.raises(StorageFull):
        publish(store, "net", RELEASE, "job", may_publish)
    monkeypatch.undo()
    publish(store, "net", RELEASE, "job", may_publish)
    assert asked == [1, 2]
