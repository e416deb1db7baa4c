"""Several who may publish the same, and die or fall asleep over it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from wintergarden.errors import StorageFull
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


def _fail_at_manifest(monkeypatch: pytest.MonkeyPatch, draft: Draft) -> None:
    """As a disk that is full, or a process that is killed, after the intent and before the rest."""
    create = draft._objects.create

    def full(key: str, content: bytes) -> bool:
        if key.endswith(MANIFEST):
            raise StorageFull("no space")
        return create(key, content)

    monkeypatch.setattr(draft._objects, "create", full)
