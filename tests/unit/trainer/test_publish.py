"""A release meets a store that is full: nothing is half-visible, and the same goes later."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from trainer.export.publish import publish, publish_family
from trainer.export.release import Release
from trainer.search.adoption import adopt
from wintergarden.errors import Cancelled, StorageFull
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


FAMILY = [replace(RELEASE, suffix=suffix) for suffix in (".forced", ".step", "")]


def test_a_full_disk_shows_nothing_of_a_family(
    tmp_path: Path, fill_at: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(str(tmp_path))
    fill_at(3 * WRITES - 5)  # all but the last file of the last
    with pytest.raises(StorageFull):
        publish_family(store, "net", FAMILY)
    monkeypatch.undo()
    assert store.list_models() == []
    publish_family(store, "net", FAMILY)
    assert store.list_models() == ["net", "net.forced", "net.step"]


def test_a_search_adopts_a_trials_family_whole(tmp_path: Path) -> None:
    trials, store = open_store(str(tmp_path / "trials")), open_store(str(tmp_path / "store"))
    publish_family(trials, "net", FAMILY, "other")
    best = publish_family(trials, "net", FAMILY, "trial")

    def adopted(may_publish: Callable[[int], bool]) -> None:
        rule, table = ["test_loss<=9"], [{"lr": 1}]
        adopt(
            store, trials, best,
            job_id="search", trials=table, may_publish=may_publish, conditions=rule,
        )  # fmt: skip

    with pytest.raises(Cancelled):
        adopted(lambda version: False)
    assert store.list_models() == []
    adopted(lambda version: True)
    adopted(lambda version: True)  # an attempt that did not know
    for name in ("net", "net.forced", "net.step"):
        (version,) = store.list_versions(name)
        manifest = store.read_manifest(name, version)
        assert (manifest.lineage.job_id, manifest.lineage.parent) == ("search", "job trial")
        assert (manifest.promotion is not None) == (name == "net")
        assert ("search/trials.json" in manifest.files) == (name == "net")
        artefact = store.fetch(name, version)
        assert {file: artefact.read(file) for file in FILES} == FILES


def test_a_search_adopts_a_trial_that_has_no_family(tmp_path: Path) -> None:
    trials, store = open_store(str(tmp_path / "trials")), open_store(str(tmp_path / "store"))
    best = publish(trials, "net", RELEASE, "trial")
    manifest = adopt(
        store, trials, best, job_id="search", trials=[{"lr": 1}], may_publish=lambda version: True
    )
    assert store.list_models() == ["net"]
    told = store.fetch("net", manifest.version).read("search/trials.json")
    assert json.loads(told) == [{"lr": 1}]
