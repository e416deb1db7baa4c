"""A published version as files of this machine, each verified before it is handed out."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from wintergarden.errors import DataLoss, NotFound
from wintergarden.store.directory import pieces, translate
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

    def __init__(self, objects: Objects, manifest: Manifest, cache: Path) -> None:
        self.manifest = manifest
        self._objects = objects
        self._folder = version_key(manifest.model, manifest.version)
        self._cache = cache
        self._verified: dict[str, Path] = {}

    def path(self, name: str) -> Path:
        """Where the file is; it was verified once for this artefact.

        Raises:
            NotFound: the version has no such file.
            DataLoss: the file is missing, or is not what the manifest says.
        """
        if name not in self._verified:
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
        self._compare(name, expected, hashlib.sha256(content).hexdigest(), len(content))
        return content

    def _expected(self, name: str) -> FileInfo:
        expected = self.manifest.files.get(name)
        if expected is None:
            raise NotFound(
                f"{self.manifest.model}/{self.manifest.version} has no {name}; it has "
                f"{', '.join(sorted(self.manifest.files))}"
            )
        return expected

    def _locate(self, name: str, expected: FileInfo) -> Path:
        in_place = self._objects.local_path(f"{self._folder}/{name}")
        if in_place is not None:
            try:
                self._compare(name, expected, *_fingerprint(in_place))
            except FileNotFoundError as error:
                raise self._missing(name) from error
            return in_place
        cached = self._cache / expected.sha256
        with suppress(FileNotFoundError):
            if _fingerprint(cached) == (expected.sha256, expected.bytes):
                return cached
        self._download(name, expected, cached)
        return cached

    def _download(self, name: str, expected: FileInfo, target: Path) -> None:
        part = self._cache / f".part-{uuid4().hex}"
        digest, size = hashlib.sha256(), 0
        try:
            self._cache.mkdir(parents=True, exist_ok=True)
            with part.open("xb") as file:
                for chunk in self._objects.chunks(f"{self._folder}/{name}"):
                    size += len(chunk)
                    if size > expected.bytes:
                        break  # it is wrong already, and may have no end
                    digest.update(chunk)
                    file.write(chunk)
            self._compare(name, expected, digest.hexdigest(), size)
            part.replace(target)
        except NotFound as error:
            raise self._missing(name) from error
        except OSError as error:
            raise translate(error, "write", part) from error
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)

    def _compare(self, name: str, expected: FileInfo, digest: str, size: int) -> None:
        if (digest, size) != (expected.sha256, expected.bytes):
            got = f"more than {expected.bytes}" if size > expected.bytes else str(size)
            raise DataLoss(
                f"{name} of {self.manifest.model}/{self.manifest.version} is corrupt: expected "
                f"sha256 {expected.sha256} in {expected.bytes} bytes, got {digest} in {got} bytes"
            )

    def _missing(self, name: str) -> DataLoss:
        return DataLoss(f"{name} of {self.manifest.model}/{self.manifest.version} is missing")


def _fingerprint(path: Path) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    for chunk in pieces(path):
        digest.update(chunk)
        size += len(chunk)
    return digest.hexdigest(), size
