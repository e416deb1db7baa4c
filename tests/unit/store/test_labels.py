"""Labels and configurations of models, on every storage; no writer undoes another's work."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from wintergarden.errors import DataLoss, FailedPrecondition, InvalidArgument, NotFound, TooLarge
from wintergarden.store import ModelStore
from wintergarden.store.labels import Labels, make_labels, parse_labels

Publish = Callable[..., int]


def test_labels_are_set_read_and_counted(store: ModelStore, publish: Publish) -> None:
    for _ in range(2):
        publish(store, "net")
    assert store.labels("net") == Labels()
    first = store.set_labels("net", Labels(labels={"stable": 1}))
    assert first.revision == 1
    second = make_labels(
        labels={"stable": 1, "canary": 2},
        split={"stable": 0.9, "canary": 0.1},
        shadow=2,
        revision=first.revision,
    )
    store.set_labels("net", second)
    kept = store.labels("net")
    assert (kept.labels, kept.shadow, kept.revision) == ({"stable": 1, "canary": 2}, 2, 2)
    assert kept.names_of(2) == ["canary", "shadow"]
    assert parse_labels(kept.to_json(), "net") == kept


def test_a_writer_that_has_not_seen_the_last_change_is_refused(
    store: ModelStore, publish: Publish
) -> None:
    publish(store, "net")
    store.set_labels("net", Labels(labels={"stable": 1}))
    for stale in (Labels(labels={"canary": 1}), Labels(labels={"canary": 1}, revision=7)):
        with pytest.raises(FailedPrecondition, match="changed by somebody else"):
            store.set_labels("net", stale)
    assert store.labels("net").labels == {"stable": 1}


def test_of_many_writers_at_once_one_wins_each_revision(
    store: ModelStore, publish: Publish
) -> None:
    publish(store, "net")

    def add(label: str) -> None:
        while True:
            seen = store.labels("net")
            try:
                store.set_labels(
                    "net", seen.model_copy(update={"labels": {**seen.labels, label: 1}})
                )
            except FailedPrecondition:
                continue
            return

    names = [f"label-{i}" for i in range(6)]
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(add, names))
    kept = store.labels("net")
    assert (sorted(kept.labels), kept.revision) == (names, 6)


def test_labels_name_versions_that_exist(store: ModelStore, publish: Publish) -> None:
    publish(store, "net")
    with pytest.raises(NotFound, match="'net' has no version 2; there are 1"):
        store.set_labels("net", Labels(labels={"stable": 1, "canary": 2}))
    with pytest.raises(NotFound, match="no version 3"):
        store.set_labels("net", Labels(shadow=3))
    with pytest.raises(NotFound, match="no model 'other'"):
        store.set_labels("other", Labels())


def test_a_version_with_a_label_is_not_deleted(store: ModelStore, publish: Publish) -> None:
    for _ in range(3):
        publish(store, "net")
    store.set_labels("net", Labels(labels={"stable": 1}, shadow=2))
    with pytest.raises(FailedPrecondition, match="version 1 is called stable; give the label"):
        store.delete("net", 1)
    with pytest.raises(FailedPrecondition, match="is called shadow"):
        store.delete("net", 2)
    assert store.delete("net", 3) == [3]
    assert store.delete("net") == [1, 2]
    publish(store, "net")
    assert store.labels("net") == Labels()


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"labels": {"3": 1}}, "'3' is no label"),
        ({"labels": {"../x": 1}}, "is no label"),
        ({"labels": {"a": 0}}, "greater than or equal to 1"),
        ({"labels": {f"a{i}": 1 for i in range(65)}}, "at most 64"),
        ({"split": {"a": 1.0}}, "not among the labels"),
        ({"labels": {"a": 1, "b": 2}, "split": {"a": 0.5, "b": 0.4}}, "sum to 0.9; they must"),
        ({"labels": {"a": 1, "b": 2}, "split": {"a": 1.5, "b": -0.5}}, "allowed are 0 to 1"),
        ({"labels": {"a": 1}, "split": {"a": float("nan")}}, "allowed are 0 to 1"),
        ({"shadow": 0}, "shadow"),
        ({"colour": 1}, "colour"),
    ],
)
def test_what_is_not_allowed(fields: dict[str, object], problem: str) -> None:
    with pytest.raises(InvalidArgument, match=problem):
        make_labels(**fields)


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"labels": []}', b'{"revision": -1}'])
def test_what_cannot_be_read_names_the_model(content: bytes) -> None:
    with pytest.raises(DataLoss, match=r"labels\.json of model 'net' is not valid"):
        parse_labels(content, "net")


def test_a_configuration_is_replaced_whole(store: ModelStore, publish: Publish) -> None:
    publish(store, "net")
    assert store.read_configuration("net") is None
    for content in (b"max_batch_size: 4", b"", b"max_batch_size: 8"):
        store.write_configuration("net", content)
        assert store.read_configuration("net") == content
    with pytest.raises(TooLarge):
        store.write_configuration("net", b" " * (2**20 + 1))
    with pytest.raises(NotFound, match="no model 'other'"):
        store.write_configuration("other", b"")
    for name in ("../net", "a/b", ""):
        with pytest.raises(InvalidArgument):
            store.read_configuration(name)


def test_one_look_shows_everything_and_what_has_changed(
    store: ModelStore, publish: Publish
) -> None:
    assert store.look() == {}
    publish(store, "a")
    publish(store, "b")
    first = store.look()
    assert {name: list(model.versions) for name, model in first.items()} == {"a": [1], "b": [1]}
    assert store.look() == first
    store.write_configuration("a", b"max_batch_size: 1")
    store.set_labels("b", Labels(labels={"stable": 1}))
    publish(store, "b")
    second = store.look()
    assert second["a"].configuration and not second["a"].labels
    assert second["b"].labels and not second["b"].configuration
    assert list(second["b"].versions) == [1, 2]
    assert second["b"].versions[1] == first["b"].versions[1]
    # Neither counts as a version, nor as a change of one.
    assert store.published() == {"a": [1], "b": [1, 2]}


def test_files_beside_the_versions(store: ModelStore, publish: Publish, tmp_path: Path) -> None:
    publish(store, "net")
    with pytest.raises(NotFound):
        store.read_file("net", "labels.txt", 100)
    for name in ("../x", "/etc/hostname", "manifest.json", ""):
        with pytest.raises(InvalidArgument):
            store.read_file("net", name, 100)
