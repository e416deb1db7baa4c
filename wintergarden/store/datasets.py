"""Data sets of the users: what they uploaded, what was made of it, and names for that.

    datasets/uploads/…                     what was uploaded, as it came: `dataset_uploads`
    datasets/<digest>/prepared.npz         examples in their parts
                     /dataset.json         last; its sha256 is the digest
    datasets/names/<name>.json             which digest a name stands for now
    datasets/deletions/<digest>-<id>       while somebody takes away what may be its last name

Knows no format: what is in the files is the business of whoever prepares and trains.
"""

from __future__ import annotations

import builtins
import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from uuid import uuid4

from wintergarden.errors import (
    Cancelled,
    DataLoss,
    InvalidArgument,
    NotFound,
    Unavailable,
    Unsupported,
)
from wintergarden.store.cache import Cache
from wintergarden.store.dataset_manifest import (
    MAX_DATASET_JSON_BYTES,
    DatasetManifest,
    StoredDataset,
    digest_of,
    parse_dataset,
)
from wintergarden.store.dataset_uploads import UNUSED_S, DatasetUploads, locate
from wintergarden.store.objects import Objects
from wintergarden.store.storage import open_storage

PREPARED = "prepared.npz"

_DATASET = "dataset.json"
_NAMES = "datasets/names"
_DELETIONS = "datasets/deletions"
_DELETION_S = 10.0
"""Longer ago, whoever began to delete has died over it."""
_MAX_SMALL_BYTES = 4096
_PATIENCE = 20
_POLL_S = 0.05

# As long as leaves room for `architecture-name` to be the name of a model.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_BY_DIGEST = re.compile(r"(?:(?P<name>[^@]+)@)?sha256:(?P<digest>[0-9a-f]{64})")


def validate_dataset_name(name: str) -> str:
    """Returns the name.

    Raises:
        InvalidArgument: it is no name of a data set.
    """
    if not _NAME.fullmatch(name):
        raise InvalidArgument(
            f"data set name {name!r:.100} is not allowed: up to 64 letters, digits and . _ - , "
            "the first a letter, a digit or _",
            field="name",
        )
    return name


class DatasetStore:
    """Data sets are immutable and called by their digest; a name may be given to another.

    Every method raises `Unavailable` where the storage does not answer, `PermissionDenied` where
    it refuses, and those that write `StorageFull` where it is full.

    Attributes:
        uploads: the files that data sets are made of.
    """

    def __init__(self, objects: Objects, cache: Cache) -> None:
        self._objects = objects
        self._cache = cache
        self.uploads = DatasetUploads(objects, cache)
        self._read_manifest = lru_cache(maxsize=256)(self._fetch_manifest)

    @property
    def uri(self) -> str:
        return self._objects.uri

    def drop_unused_uploads(self, older_than_s: float = UNUSED_S) -> builtins.list[str]:
        """Deletes old uploads that no data set was made of; returns their digests."""
        used = {dataset.manifest.upload.sha256 for dataset in self.list()}
        return self.uploads.drop_unused(used, older_than_s)

    def publish(
        self,
        name: str,
        manifest: DatasetManifest,
        prepared: Path,
        may_publish: Callable[[], bool] = lambda: True,
    ) -> StoredDataset:
        """Stores a data set and gives it a name, which another may have had before.

        Args:
            name: to give.
            manifest: of the data set, its files included.
            prepared: `prepared.npz`.
            may_publish: asked once, when all is written and the name does not stand for it yet.

        Raises:
            InvalidArgument: the name is not allowed.
            Cancelled: `may_publish` said no.
        """
        validate_dataset_name(name)
        content = manifest.to_json()
        digest = digest_of(content)
        self._put(digest, content, prepared)
        if not may_publish():
            raise Cancelled(f"data set {name!r} may not be published")
        self._point(name, digest)
        # Who takes its last name away says so before looking for others. So either they have seen
        # the new one, or we see that they are at it, and put back what they delete.
        self._await_deletions(digest)
        if f"datasets/{digest}/{_DATASET}" not in self._objects.keys(f"datasets/{digest}"):
            self._put(digest, content, prepared)
        return StoredDataset(name, digest, manifest)

    def names(self) -> dict[str, str]:
        """Digests by name, in alphabetical order."""
        found = {}
        for key in self._objects.keys(_NAMES):
            name = key.rsplit("/", 1)[-1].removesuffix(".json")
            if key.endswith(".json") and _NAME.fullmatch(name):
                with suppress(NotFound):  # deleted while we look
                    found[name] = self._digest_of_name(name)
        return found

    def list(self) -> list[StoredDataset]:
        """Every data set that has a name, in alphabetical order; unreadable ones are left out."""
        return list(self._readable())

    def _readable(self) -> Iterator[StoredDataset]:
        for name, digest in self.names().items():
            with suppress(NotFound, DataLoss, Unsupported):
                yield StoredDataset(name, digest, self._read_manifest(digest))

    def find(self, reference: str) -> StoredDataset:
        """A data set by `name`, `sha256:<digest>` or `name@sha256:<digest>`.

        The last is what the name stood for when it was written down.

        Raises:
            NotFound: there is none; the message names those there are.
            DataLoss: it cannot be read.
        """
        if by_digest := _BY_DIGEST.fullmatch(reference):
            digest = by_digest["digest"]
            name = by_digest["name"] or reference
        else:
            name = validate_dataset_name(reference)
            digest = self._digest_of(name)
        try:
            return StoredDataset(name, digest, self._read_manifest(digest))
        except NotFound as error:
            raise NotFound(f"no data set {reference!r} in {self.uri}; it was deleted") from error

    def fetch(self, dataset: StoredDataset) -> Path:
        """Where its `prepared.npz` is on this machine; it is verified.

        Raises:
            DataLoss: it is missing or corrupt.
        """
        try:
            expected = dataset.manifest.files[PREPARED]
            key = f"datasets/{dataset.digest}/{PREPARED}"
            return locate(self._objects, self._cache, key, expected)
        except (KeyError, NotFound) as error:
            raise DataLoss(f"{PREPARED} of data set {dataset.name!r} is missing") from error

    def delete(self, name: str) -> str:
        """Takes a name away, and with its last name the data set and its upload.

        Returns:
            The digest it stood for.

        Raises:
            NotFound: there is none; the message names those there are.
        """
        if ":" in name:
            raise InvalidArgument(
                f"{name!r:.100} is no name; delete a data set by its name", field="name"
            )
        digest, upload = self._digest_of(validate_dataset_name(name)), ""
        with suppress(NotFound, DataLoss, Unsupported):  # what cannot be read can be deleted
            upload = self._read_manifest(digest).upload.sha256
        self._objects.delete(f"{_NAMES}/{name}.json")
        with self._deletion(digest):
            if digest not in self.names().values():
                self._objects.delete(f"datasets/{digest}/{_DATASET}")  # first: no reader finds half
                self._objects.delete_folder(f"datasets/{digest}")
                self._read_manifest.cache_clear()
        if upload and upload not in {dataset.manifest.upload.sha256 for dataset in self.list()}:
            self.uploads.delete(upload)
        return digest

    def _put(self, digest: str, content: bytes, prepared: Path) -> None:
        self._objects.put(f"datasets/{digest}/{PREPARED}", prepared)
        self._objects.put(f"datasets/{digest}/{_DATASET}", content)

    @contextmanager
    def _deletion(self, digest: str) -> Iterator[None]:
        key = f"{_DELETIONS}/{digest}-{uuid4().hex}"
        self._objects.put(key, b"")
        try:
            yield
        finally:
            self._objects.delete(key)

    def _await_deletions(self, digest: str) -> None:
        until = time.monotonic() + _DELETION_S
        while under_way := [
            key
            for key in self._objects.keys(_DELETIONS)
            if key.startswith(f"{_DELETIONS}/{digest}")
        ]:
            if time.monotonic() > until:
                for key in under_way:
                    self._objects.delete(key)
                return
            time.sleep(_POLL_S)

    def _point(self, name: str, digest: str) -> None:
        """Compare and swap, so that revisions count the changes whoever makes them."""
        key = f"{_NAMES}/{name}.json"
        for _ in range(_PATIENCE):
            current, revision = None, 0
            with suppress(NotFound):
                current = self._objects.read(key, _MAX_SMALL_BYTES)
                revision = _revision(current)
            new = json.dumps({"digest": digest, "revision": revision + 1}).encode() + b"\n"
            if self._objects.swap(key, current, new):
                return
        raise Unavailable(f"data set {name!r} is being changed by others without a pause")

    def _digest_of(self, name: str) -> str:
        try:
            return self._digest_of_name(name)
        except NotFound as error:
            there_are = ", ".join(self.names()) or "none"
            raise NotFound(f"no uploaded data set {name!r}; there are {there_are}") from error

    def _digest_of_name(self, name: str) -> str:
        key = f"{_NAMES}/{name}.json"
        try:
            digest = str(json.loads(self._objects.read(key, _MAX_SMALL_BYTES))["digest"])
        except (ValueError, TypeError, KeyError) as error:
            raise DataLoss(f"{key} cannot be read: {error}") from error
        if not _DIGEST.fullmatch(digest):
            raise DataLoss(f"{key} names no digest: {digest!r:.80}")
        return digest

    def _fetch_manifest(self, digest: str) -> DatasetManifest:
        content = self._objects.read(f"datasets/{digest}/{_DATASET}", MAX_DATASET_JSON_BYTES)
        return parse_dataset(content, digest)


def _revision(content: bytes) -> int:
    """Of a pointer; what cannot be read is replaced and counted anew."""
    try:
        return int(json.loads(content)["revision"])
    except (ValueError, TypeError, KeyError):
        return 0


def open_datasets(uri: str, cache: Path | None = None) -> DatasetStore:
    """The data sets of a store; nothing is read or written yet.

    Args:
        uri: of the store, as in `open_store`.
        cache: for files of stores that are no directory; None is `~/.cache/wintergarden`.

    Raises:
        InvalidArgument: no such kind of store.
    """
    kept = Cache(cache or Path("~/.cache/wintergarden").expanduser())
    return DatasetStore(open_storage(uri), kept)
