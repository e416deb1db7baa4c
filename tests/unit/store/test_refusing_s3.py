"""An S3 that refuses in the middle of a publish: said, nothing half-visible, well again later."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from wintergarden.errors import PermissionDenied, StorageFull, WintergardenError
from wintergarden.store import open_store
from wintergarden.store.labels import Labels

Publish = Callable[..., int]
QUOTA = ("403 Forbidden", "QuotaExceeded")
DENIED = ("403 Forbidden", "AccessDenied")


@pytest.mark.parametrize("name", ["claim.json", "model.onnx", "golden.npz", "manifest.json"])
@pytest.mark.parametrize(("refusal", "error"), [(QUOTA, StorageFull), (DENIED, PermissionDenied)])
def test_a_refusal_at_any_object_shows_nothing(
    s3_uri: str,
    s3_refuse: Any,
    publish: Publish,
    name: str,
    refusal: tuple[str, str],
    error: type[WintergardenError],
) -> None:
    store = open_store(s3_uri)
    s3_refuse.refuse = lambda method, path: (
        refusal if method == "PUT" and path.endswith(name) else None
    )
    with pytest.raises(error, match=name):
        publish(store, "net", golden_npz=b"g")
    s3_refuse.refuse = None
    assert store.list_models() == []
    left = {key.rpartition("/")[2] for key in store._objects.keys("models/net")}
    assert left <= {"claim.json"}
    version = publish(store, "net", golden_npz=b"g")
    assert store.list_versions("net") == [version]
    assert store.fetch("net", version).read("golden.npz") == b"g"


def test_a_server_error_that_passes_is_not_noticed(
    s3_uri: str, s3_refuse: Any, publish: Publish
) -> None:
    failed: set[str] = set()

    def once(method: str, path: str) -> tuple[str, str] | None:
        if method != "PUT" or path in failed:
            return None
        failed.add(path)
        return "503 Slow Down", "SlowDown"

    s3_refuse.refuse = once
    store = open_store(s3_uri)
    assert publish(store, "net", golden_npz=b"g") == 1
    assert len(failed) == 4
    assert store.list_versions("net") == [1]


def test_labels_stay_as_they_are(s3_uri: str, s3_refuse: Any, publish: Publish) -> None:
    store = open_store(s3_uri)
    publish(store, "net")
    store.set_labels("net", Labels(labels={"stable": 1}))
    s3_refuse.refuse = lambda method, path: QUOTA if method == "PUT" else None
    with pytest.raises(StorageFull, match=r"labels\.json"):
        store.set_labels("net", Labels(labels={"canary": 1}, revision=1))
    s3_refuse.refuse = None
    assert store.labels("net").labels == {"stable": 1}
