"""A published version as files of this machine, each verified before it is handed out."""

from __future__ import annotations

import hashlib
import mmap
import os
from pathlib import Path

from wintergarden.errors import DataLoss, NotFound
from wintergarden.store.cache import Cache, fingerprint
from wintergarden.store.directory import translate
from wintergarden.store.manifest import FileInfo, Manifest
from wintergarden.store.names import version_key
from wintergarden.store.objects import Objects


class Artefact:
    """One version of a model.

    In a store that is a directory the files are verified where they are and not copied; who may
    write there could change a file between `path` and its use, so what is executed is better
    taken from `read`, which hands out the very bytes that it verified. Files of other stores are
    kept in a cache under their digests.
    """

    def __init__(self, objects: Objects, manifest: Manifest, cache: Cache) -> None:
        self.manifest = manifest
        self._objects = objects
        self._folder = version_key(manifest.model, manifest.version)
        self._cache = cache
        self._verified: dict[str, Path] = {}

    def path(self, name: str) -> Path:
        """Where the file is; it is verified once for this artefact.

        Raises:
            NotFound: the version has no such file.
            DataLoss: the file is missing, or is not what the manifest says.
        """
        if name not in self._verified or not self._verified[name].exists():
            self._verified[name] = self._locate(name, self._expected(name))
        return self._verified[name]

    def read(self, name: str) -> bytes:
        """The file's bytes, which were verified after they were read.

        Raises:
            NotFound: the version has no such file.
            DataLoss: the file is missing, or is not what the manifest says.
        """
        expected = self._expected(name)
        path = self._objects.local_path(f"{self._folder}/{name}") or self.path(name)
        try:
            with path.open("rb") as file:
                content = file.read(expected.bytes + 1)
        except FileNotFoundError as error:
            raise self._missing(name) from error
        except OSError as error:
            raise translate(error, "read", path) from error
        self._compare(
            name,
            expected,
            FileInfo(sha256=hashlib.sha256(content).hexdigest(), bytes=len(content)),
        )
        return content

    def copy(self, name: str, descriptor: int) -> None:
        """Write the file's bytes to an open file, empty and readable; what is in it is verified.

        As `read`, for files that are better not held in memory twice; only on Linux. Neither
        step holds Python's lock, nor the processor for longer than the kernel's small pieces.

        Raises:
            NotFound: the version has no such file.
            DataLoss: the file is missing, or is not what the manifest says; what was written is
                not to be used.
        """
        expected = self._expected(name)
        path = self._objects.local_path(f"{self._folder}/{name}") or self.path(name)
        try:
            with path.open("rb") as file:
                size = _send(file.fileno(), descriptor, expected.bytes + 1)
            digest = _sha256(descriptor, size)
        except FileNotFoundError as error:
            raise self._missing(name) from error
        except OSError as error:
            raise translate(error, "copy", path) from error
        self._compare(name, expected, FileInfo(sha256=digest, bytes=size))

    def _expected(self, name: str) -> FileInfo:
        expected = self.manifest.files.get(name)
        if expected is None:
            raise NotFound(
                f"{self.manifest.model}/{self.manifest.version} has no {name}; it has "
                f"{', '.join(sorted(self.manifest.files))}"
            )
        return expected

    def _locate(self, name: str, expected: FileInfo) -> Path:
        key = f"{self._folder}/{name}"
        in_place = self._objects.local_path(key)
        if in_place is not None:
            try:
                self._compare(name, expected, fingerprint(in_place))
            except FileNotFoundError as error:
                raise self._missing(name) from error
            except OSError as error:
                raise translate(error, "read", in_place) from error
            return in_place
        cached = self._cache.get(expected)
        if cached is not None:
            return cached
        try:
            added = self._cache.add(self._objects.chunks(key), expected)
        except NotFound as error:
            raise self._missing(name) from error
        if isinstance(added, FileInfo):
            raise self._corrupt(name, expected, added)
        return added

    def _compare(self, name: str, expected: FileInfo, got: FileInfo) -> None:
        if got != expected:
            raise self._corrupt(name, expected, got)

    def _corrupt(self, name: str, expected: FileInfo, got: FileInfo) -> DataLoss:
        size = f"more than {expected.bytes}" if got.bytes > expected.bytes else str(got.bytes)
        return DataLoss(
            f"{name} of {self.manifest.model}/{self.manifest.version} is corrupt: expected sha256 "
            f"{expected.sha256} in {expected.bytes} bytes, got {got.sha256} in {size} bytes"
        )

    def _missing(self, name: str) -> DataLoss:
        return DataLoss(f"{name} of {self.manifest.model}/{self.manifest.version} is missing")


def _send(source: int, target: int, limit: int) -> int:
    """Bytes that were copied, from the beginning and no more than that many."""
    size = 0
    while sent := os.sendfile(target, source, size, limit - size):
        size += sent
    return size


def _sha256(descriptor: int, size: int) -> str:
    if not size:
        return hashlib.sha256().hexdigest()
    with mmap.mmap(descriptor, size, access=mmap.ACCESS_READ) as content:
        return hashlib.sha256(content).hexdigest()
