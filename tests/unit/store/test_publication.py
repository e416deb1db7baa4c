"""Several who may publish the same, and die or fall asleep over it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from wintergarden.errors import StorageFull, Unavailable
from wintergarden.store import ManifestFields, ModelStore
from wintergarden.store.draft import Draft
from wintergarden.store.names import MANIFEST


@pytest.fixture
def begin(store: ModelStore, relu: bytes) -> Callable[[], Draft]:
    """A draft with everything that `job-1` publishes, but for the last step."""

    def begin() -> Draft:
        draft = store.publish("net")
        draft.write("model.onnx", relu)
        return draft

    return begin


def test_the_first_decides_for_all(
    store: ModelStore, fields: ManifestFields, begin: Callable[[], Draft]
) -> None:
    with begin() as asleep, begin() as successor:
        assert successor.commit(fields, "job-1").version == 2
        assert asleep.commit(fields, "job-1").version == 2
    assert store.list_versions("net") == [2]
    assert store.find_publication("job-1") == store.read_manifest("net", 2)


def test_any_number_at_once_publish_one_version(
    store: ModelStore, fields: ManifestFields, begin: Callable[[], Draft]
) -> None:
    def publish(_: int) -> int:
        with begin() as draft:
            return draft.commit(fields, "job-1").version

    with ThreadPoolExecutor(4) as pool:
        versions = set(pool.map(publish, range(8)))
    assert len(versions) == 1
    assert store.list_versions("net") == sorted(versions)


def test_what_was_intended_is_carried_out_by_who_comes_later(
    store: ModelStore,
    fields: ManifestFields,
    begin: Callable[[], Draft],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(StorageFull), begin() as draft, monkeypatch.context() as patch:
        _fail_at_manifest(patch, draft)
        draft.commit(fields, "job-1")
    assert store.list_versions("net") == []
    found = store.find_publication("job-1")
    assert found is not None
    assert found.version == 1
    assert store.list_versions("net") == [1]
    assert store.fetch("net", 1).read("model.onnx")
    # And to publish it again is to find it.
    with begin() as again:
        assert again.commit(fields, "job-1") == found
    assert store.list_versions("net") == [1]


def test_another_publisher_carries_it_out_too(
    store: ModelStore,
    fields: ManifestFields,
    begin: Callable[[], Draft],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(StorageFull), begin() as draft, monkeypatch.context() as patch:
        _fail_at_manifest(patch, draft)
        draft.commit(fields, "job-1")
    with begin() as successor:
        assert successor.commit(fields, "job-1").version == 1
    assert store.list_versions("net") == [1]


def test_publications_are_apart(
    store: ModelStore, fields: ManifestFields, begin: Callable[[], Draft]
) -> None:
    with begin() as one, begin() as other:
        assert one.commit(fields, "job-1").version == 1
        assert other.commit(fields, "job-2").version == 2
    assert store.find_publication("job-3") is None


def test_what_was_deleted_does_not_come_back(
    store: ModelStore, fields: ManifestFields, begin: Callable[[], Draft]
) -> None:
    with begin() as draft:
        draft.commit(fields, "job-1")
    store.delete("net", 1)
    assert store.find_publication("job-1") is None
    assert store.list_versions("net") == []
    store.forget_publication("job-1")
    store.forget_publication("job-1")


def test_what_was_deleted_gives_way_to_the_next_publisher(
    store: ModelStore, fields: ManifestFields, begin: Callable[[], Draft]
) -> None:
    with begin() as draft:
        draft.commit(fields, "job-1")
    store.delete("net", 1)
    with begin() as successor:
        assert successor.commit(fields, "job-1").version == 2
    assert store.list_versions("net") == [2]
    assert store.fetch("net", 2).read("model.onnx")
    assert store.find_publication("job-1") == store.read_manifest("net", 2)


def test_an_intent_whose_answer_was_lost_keeps_its_files(
    store: ModelStore,
    fields: ManifestFields,
    begin: Callable[[], Draft],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    create = store._objects.create

    def lose_the_answer(key: str, content: bytes) -> bool:
        create(key, content)
        raise Unavailable("timed out")

    with pytest.raises(Unavailable), begin() as draft, monkeypatch.context() as patch:
        patch.setattr(draft._objects, "create", lose_the_answer)
        draft.commit(fields, "job-1")
    found = store.find_publication("job-1")
    assert found is not None
    assert store.fetch("net", found.version).read("model.onnx")


def test_what_could_not_even_be_intended_leaves_no_files(
    store: ModelStore,
    fields: ManifestFields,
    begin: Callable[[], Draft],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(key: str, content: bytes) -> bool:
        raise StorageFull("no space")

    with pytest.raises(StorageFull), begin() as draft, monkeypatch.context() as patch:
        patch.setattr(draft._objects, "create", refuse)
        draft.commit(fields, "job-1")
    assert store._objects.keys("models/net/1") == ["models/net/1/claim.json"]


@pytest.mark.parametrize("moment", ["before", "after"])
def test_who_looks_during_a_deletion_brings_nothing_back(
    store: ModelStore,
    fields: ManifestFields,
    begin: Callable[[], Draft],
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
) -> None:
    """`before` and after the model's own file goes; the manifest has gone by then."""
    with begin() as draft:
        draft.commit(fields, "job-1")
    delete = store._objects.delete

    def look_meanwhile(key: str) -> None:
        is_model = key.endswith("/model.onnx")
        if is_model and moment == "before":
            store.find_publication("job-1")
        delete(key)
        if is_model and moment == "after":
            assert store.find_publication("job-1") is None

    with monkeypatch.context() as patch:
        patch.setattr(store._objects, "delete", look_meanwhile)
        store.delete("net", 1)
    assert store.list_versions("net") == []
    assert store.find_publication("job-1") is None


def test_files_that_go_while_a_publication_is_carried_out_leave_nothing_visible(
    store: ModelStore,
    fields: ManifestFields,
    begin: Callable[[], Draft],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As of a publisher that slept through a deletion just before it made its version visible."""
    with begin() as draft:
        draft.commit(fields, "job-1")
    create, delete = store._objects.create, store._objects.delete

    def sleep_first(key: str, content: bytes) -> bool:
        for name in ("manifest.json", "model.onnx"):
            delete(f"models/net/1/{name}")
        return create(key, content)

    with monkeypatch.context() as patch:
        patch.setattr(store._objects, "create", sleep_first)
        assert store.find_publication("job-1") is None
    assert store.list_versions("net") == []


def _fail_at_manifest(monkeypatch: pytest.MonkeyPatch, draft: Draft) -> None:
    """As a disk that is full, or a process that is killed, after the intent and before the rest."""
    create = draft._objects.create

    def full(key: str, content: bytes) -> bool:
        if key.endswith(MANIFEST):
            raise StorageFull("no space")
        return create(key, content)

    monkeypatch.setattr(draft._objects, "create", full)
