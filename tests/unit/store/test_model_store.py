"""What holds on every storage."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from wintergarden.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound
from wintergarden.store import ManifestFields, ModelStore, open_store
from wintergarden.store.labels import Labels

Publish = Callable[..., int]


def test_an_empty_store(store: ModelStore) -> None:
    assert store.list_models() == []
    assert store.list_versions("x") == []
    with pytest.raises(NotFound, match="no model 'x'; the store is empty"):
        store.latest_version("x")
    with pytest.raises(NotFound, match="no model 'x'; the store is empty"):
        store.fetch("x", 1)


def test_what_is_published_is_found_whole(
    store: ModelStore, relu: bytes, fields: ManifestFields, tmp_path: Path
) -> None:
    card = tmp_path / "card.md"
    card.write_text("# a model")
    with store.publish("net") as draft:
        draft.write("model.onnx", relu)
        draft.write("card/README.md", card)
        published = draft.commit(fields)
    assert (published.model, published.version) == ("net", 1)
    assert published.digest == hashlib.sha256(relu).hexdigest()
    assert store.list_models() == ["net"]
    assert store.list_versions("net") == [1]
    assert store.read_manifest("net", 1) == published
    artefact = store.fetch("net", 1)
    assert artefact.manifest == published
    assert artefact.read("model.onnx") == relu
    assert artefact.path("model.onnx").read_bytes() == relu
    assert artefact.path("card/README.md").read_text() == "# a model"
    with pytest.raises(NotFound, match=r"net/1 has no golden.npz; it has card/README.md, model"):
        artefact.path("golden.npz")


def test_nothing_is_seen_before_the_commit(
    store: ModelStore, relu: bytes, fields: ManifestFields
) -> None:
    before = store.fingerprint()
    with store.publish("net") as draft:
        draft.write("model.onnx", relu)
        assert store.list_models() == []
        assert store.fingerprint() == before
        with pytest.raises(NotFound):
            store.fetch("net", 1)
        draft.commit(fields)
        assert store.list_versions("net") == [1]


def test_an_abandoned_claim_burns_its_number(store: ModelStore, publish: Publish) -> None:
    with pytest.raises(ZeroDivisionError), store.publish("net") as draft:
        draft.write("model.onnx", b"x")
        raise ZeroDivisionError
    assert store.list_models() == []
    assert publish(store, "net") == 2
    with store.publish("net"):
        pass
    assert publish(store, "net") == 4
    assert store.list_versions("net") == [2, 4]
    assert store.latest_version("net") == 4


def test_a_slow_writer_keeps_its_number(
    store: ModelStore, publish: Publish, relu: bytes, fields: ManifestFields
) -> None:
    with store.publish("net") as slow:
        assert publish(store, "net") == 2
        slow.write("model.onnx", relu)
        assert slow.commit(fields).version == 1
    assert store.list_versions("net") == [1, 2]


def test_versions_are_numbers_and_not_text(store: ModelStore, publish: Publish) -> None:
    assert [publish(store, "net") for _ in range(11)] == list(range(1, 12))
    assert store.list_versions("net") == list(range(1, 12))


def test_the_fingerprint_changes_when_a_version_comes_or_goes(
    store: ModelStore, publish: Publish
) -> None:
    seen = [store.fingerprint()]
    publish(store, "net")
    seen.append(store.fingerprint())
    assert store.fingerprint() == seen[-1]
    publish(store, "net")
    seen.append(store.fingerprint())
    store.delete("net", 1)
    seen.append(store.fingerprint())
    assert len(set(seen)) == 4


def test_siblings_go_with_the_version_that_their_job_published(
    store: ModelStore, relu: bytes, fields: ManifestFields
) -> None:
    def publish(model: str, job_id: str | None) -> None:
        lineage = fields.lineage.model_copy(update={"job_id": job_id})
        with store.publish(model) as draft:
            draft.write("model.onnx", relu)
            draft.commit(fields.model_copy(update={"lineage": lineage}))

    for job_id in ("one", "two", None):
        for model in ("net.forced", "net.step", "net"):
            publish(model, job_id)
    publish("net.other", "one")
    assert store.delete("net", 1) == [1]
    assert store.published() == {
        "net": [2, 3], "net.forced": [2, 3], "net.other": [1], "net.step": [2, 3],
    }  # fmt: skip
    store.set_labels("net.step", Labels(labels={"stable": 2}))
    with pytest.raises(FailedPrecondition, match=r"'net\.step' version 2 is called"):
        store.delete("net")
    assert store.delete("net.step", 3) == [3]
    store.set_labels("net.step", Labels(revision=1))
    assert store.delete("net") == [2, 3]
    # Of no job: nobody's sibling, perhaps somebody's own.
    assert store.published() == {"net.forced": [3], "net.other": [1]}


def test_a_deleted_version_is_gone_and_its_number_too(store: ModelStore, publish: Publish) -> None:
    for _ in range(3):
        publish(store, "net")
    assert store.delete("net", 3) == [3]
    assert store.list_versions("net") == [1, 2]
    with pytest.raises(NotFound, match="model 'net' has no version 3; there are 1, 2"):
        store.delete("net", 3)
    assert store.delete("net") == [1, 2]
    assert store.list_models() == []
    with pytest.raises(NotFound, match="no model 'net'; the store is empty"):
        store.delete("net")
    assert publish(store, "net") == 4


def test_absence_names_what_there_is(store: ModelStore, publish: Publish) -> None:
    publish(store, "here")
    with pytest.raises(NotFound, match="no model 'there'; there are here"):
        store.read_manifest("there", 1)
    with pytest.raises(NotFound, match="model 'here' has no version 9; there are 1"):
        store.fetch("here", 9)


def test_names_are_checked_at_every_door(store: ModelStore) -> None:
    for door in (
        store.publish,
        store.delete,
        store.list_versions,
        store.latest_version,
        lambda name: store.fetch(name, 1),
        lambda name: store.read_manifest(name, 1),
        lambda name: store.import_onnx(name, b""),
    ):
        with pytest.raises(InvalidArgument, match=r"model name '\.\./x' is not allowed"):
            door("../x")  # type: ignore[operator]


def test_a_draft_refuses_misuse(store: ModelStore, relu: bytes, fields: ManifestFields) -> None:
    with store.publish("net") as draft:
        for name in ("../x", "manifest.json", "claim.json", "/x", ""):
            with pytest.raises(InvalidArgument, match="is no name for a file"):
                draft.write(name, b"")
        with pytest.raises(InvalidArgument, match=r"a version needs model\.onnx"):
            draft.commit(fields)
        draft.write("model.onnx", relu)
        with pytest.raises(AlreadyExists, match=r"net/1 has model\.onnx already"):
            draft.write("model.onnx", relu)
        draft.commit(fields)
        with pytest.raises(InvalidArgument, match="the draft of net/1 is closed"):
            draft.write("late.bin", b"")
        with pytest.raises(InvalidArgument, match="the draft of net/1 is closed"):
            draft.commit(fields)


def test_threads_publish_at_once(store: ModelStore, publish: Publish, relu: bytes) -> None:
    with ThreadPoolExecutor(4) as pool:
        versions = list(pool.map(lambda _: publish(store, "net"), range(12)))
    assert len(set(versions)) == 12
    assert store.list_versions("net") == sorted(versions)
    assert all(store.fetch("net", v).read("model.onnx") == relu for v in versions)


@pytest.mark.parametrize("uri", ["", "gs://bucket", "http://host/x", "s3://", "file://host/x"])
def test_what_is_no_store(uri: str) -> None:
    with pytest.raises(InvalidArgument, match=r"is not supported; allowed are /path, file:///path"):
        open_store(uri)


def test_a_directory_by_path_and_by_url(tmp_path: Path, publish: Publish) -> None:
    folder = tmp_path / "with space %41"
    publish(open_store(str(folder)), "net")
    assert open_store(folder.as_uri()).list_models() == ["net"]


def test_rooms_without_onnx_can_import_it() -> None:
    code = (
        "import sys, wintergarden.store;"
        "print({'onnx', 'onnxruntime', 'torch', 'obstore'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
