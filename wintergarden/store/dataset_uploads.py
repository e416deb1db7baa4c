"""Files that data sets are made of, as they came, under their digests.

datasets/uploads/<sha256>/file         what was uploaded
                         /upload.json  its size and when; without it the upload is not there
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Container
from pathlib import Path
from typing import Any

from wintergarden.errors import DataLoss, InvalidArgument, NotFound
from wintergarden.store.cache import Cache, fingerprint
from wintergarden.store.manifest import FileInfo
from wintergarden.store.objects import Objects

UNUSED_S = 7 * 86_400.0
"""How long an upload is kept that no data set was made of."""

_FOLDER = "datasets/uploads"
_MAX_BYTES = 4096
_DIGEST = re.compile(r"[0-9a-f]{64}")


def validate_digest(digest: str) -> str:
    """Returns the digest.

    Raises:
        InvalidArgument: it is none.
    """
    if not _DIGEST.fullmatch(digest):
        raise InvalidArgument(
            f"sha256 {digest!r:.100} is no digest: it has 64 digits of 0-9 and a-f", field="sha256"
        )
    return digest


class DatasetUploads:
    """The uploaded files of a store."""

    def __init__(self, objects: Objects, cache: Cache) -> None:
        self._objects = objects
        self._cache = cache

    def keep(self, path: Path, sha256: str) -> FileInfo:
        """Stores an uploaded file.

        Raises:
            DataLoss: its content is not that of the digest, any more.
            StorageFull: of the store; the upload is not there.
        """
        folder = self._folder(sha256)
        info = self._objects.put(f"{folder}/file", path)
        if info.sha256 != sha256:
            self._objects.delete_folder(folder)
            raise DataLoss(f"{path.name} changed while it was stored: sha256 {info.sha256}")
        content = {"bytes": info.bytes, "uploaded_at": time.time()}
        self._objects.put(f"{folder}/upload.json", json.dumps(content).encode())
        return info

    def find(self, sha256: str) -> FileInfo | None:
        """What is known of an uploaded file; None where there is none of that digest."""
        try:
            said = self._read(sha256)
            return FileInfo(sha256=sha256, bytes=int(said["bytes"]))
        except NotFound:
            return None
        except (ValueError, TypeError, KeyError) as error:
            raise DataLoss(f"upload.json of {sha256} cannot be read: {error}") from error

    def fetch(self, sha256: str) -> Path:
        """Where the uploaded file is on this machine; it is verified.

        Raises:
            NotFound: there is none of that digest.
            DataLoss: it is corrupt.
        """
        info = self.find(sha256)
        if info is None:
            uri = self._objects.uri
            raise NotFound(f"no upload with sha256 {sha256} in {uri}; upload the file again")
        return locate(self._objects, self._cache, f"{self._folder(sha256)}/file", info)

    def drop_unused(self, used: Container[str], older_than_s: float = UNUSED_S) -> list[str]:
        """Deletes old uploads that no data set was made of; returns their digests.

        Args:
            used: digests of those that stay.
            older_than_s: younger ones stay too: somebody may be about to use them.
        """
        dropped = []
        for sha256 in self._objects.folders(_FOLDER):
            is_old = self._uploaded_at(sha256) < time.time() - older_than_s
            if is_old and sha256 not in used:
                self.delete(sha256)
                dropped.append(sha256)
        return dropped

    def delete(self, sha256: str) -> None:
        """Deletes an upload, if it is there."""
        folder = self._folder(sha256)
        self._objects.delete(f"{folder}/upload.json")  # first: no reader finds half
        self._objects.delete_folder(folder)

    def _uploaded_at(self, sha256: str) -> float:
        try:
            return float(self._read(sha256)["uploaded_at"])
        except NotFound:
            return time.time()  # it is being written
        except (ValueError, TypeError, KeyError, InvalidArgument):
            return time.time()  # whose it is, we do not know

    def _read(self, sha256: str) -> dict[str, Any]:
        said: dict[str, Any] = json.loads(
            self._objects.read(f"{self._folder(sha256)}/upload.json", _MAX_BYTES)
        )
        return said

    def _folder(self, sha256: str) -> str:
        return f"{_FOLDER}/{validate_digest(sha256)}"


def locate(objects: Objects, cache: Cache, key: str, expected: FileInfo) -> Path:
    """Where an object is as a file of this machine, verified now.

    Raises:
        NotFound: there is none.
        DataLoss: it is not what was expected.
    """
    in_place = objects.local_path(key)
    if in_place is not None:
        try:
            got: Path | FileInfo = fingerprint(in_place)
        except FileNotFoundError as error:
            raise NotFound(f"no {key} in {objects.uri}") from error
        if got == expected:
            return in_place
    elif cached := cache.get(expected):
        return cached
    else:
        got = cache.add(objects.chunks(key), expected)
        if isinstance(got, Path):
            return got
    raise DataLoss(f"{key} is corrupt: expected {expected}, got {got}")
