"""An S3 bucket as storage, by obstore; any S3-compatible one that honours If-None-Match."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import obstore
from obstore import exceptions
from obstore.store import S3Store

from wintergarden.errors import (
    DataLoss,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    PermissionDenied,
    StorageFull,
    Unavailable,
)
from wintergarden.store.directory import pieces
from wintergarden.store.manifest import FileInfo

# S3 itself is never full; Ceph, MinIO and HTTP (RFC 4918, §11.5) say it so.
_FULL = re.compile(r"QuotaExceeded|XMinioStorageFull|XMinioAdminBucketQuotaExceeded|507 Insuff")


class Bucket:
    """Implements `Objects`."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        try:
            self._store = S3Store.from_url(uri, config={"conditional_put": "etag"})
        except (exceptions.BaseError, ValueError) as error:
            raise InvalidArgument(f"store {uri!r}: {_first_line(error)}") from error

    @property
    def uri(self) -> str:
        return self._uri

    def create(self, key: str, content: bytes) -> bool:
        with self._translated(key):
            try:
                obstore.put(self._store, key, content, mode="create")
            except exceptions.AlreadyExistsError:
                return False
        return True

    def swap(self, key: str, expected: bytes | None, content: bytes) -> bool:
        if expected is None:
            return self.create(key, content)
        with self._translated(key):
            answer = obstore.get(self._store, key)
            if bytes(answer.bytes()) != expected:
                return False
            try:
                obstore.put(self._store, key, content, mode={"e_tag": answer.meta["e_tag"]})
            except exceptions.PreconditionError:
                return False
        return True

    def put(self, key: str, content: bytes | Path) -> FileInfo:
        digest, size = hashlib.sha256(), 0

        def measured() -> Iterator[bytes]:
            nonlocal size
            for piece in pieces(content):
                digest.update(piece)
                size += len(piece)
                yield piece

        with self._translated(key):
            if isinstance(content, bytes):
                obstore.put(self._store, key, b"".join(measured()))
            else:
                obstore.put(self._store, key, measured())
        return FileInfo(sha256=digest.hexdigest(), bytes=size)

    def read(self, key: str, limit: int) -> bytes:
        with self._translated(key):
            answer = obstore.get(self._store, key)
            if answer.meta["size"] > limit:
                raise DataLoss(f"{key} has {answer.meta['size']} bytes; at most {limit} expected")
            return bytes(answer.bytes())

    def chunks(self, key: str) -> Iterator[bytes]:
        with self._translated(key):
            for chunk in obstore.get(self._store, key).stream():
                yield bytes(chunk)

    def part(self, key: str, offset: int, length: int) -> bytes:
        with self._translated(key):
            # A range that begins at the end is an error of S3's (416), so the size is asked first.
            end = min(offset + length, obstore.head(self._store, key)["size"])
            if offset >= end:
                return b""
            return bytes(obstore.get_range(self._store, key, start=offset, end=end))

    def local_path(self, key: str) -> Path | None:
        return None

    def folders(self, prefix: str) -> list[str]:
        with self._translated(prefix):
            listed = obstore.list_with_delimiter(self._store, prefix)
        return sorted(folder.rsplit("/", 1)[-1] for folder in listed["common_prefixes"])

    def keys(self, prefix: str) -> list[str]:
        with self._translated(prefix):
            return sorted(
                meta["path"] for page in obstore.list(self._store, prefix) for meta in page
            )

    def find(self, version_file: str, *model_files: str) -> dict[str, str]:
        found = {}
        with self._translated("models"):
            for page in obstore.list(self._store, "models", chunk_size=1000):
                for meta in page:
                    path = meta["path"]
                    _, *folders, file_name = path.split("/")
                    wanted = {1: model_files, 2: (version_file,)}.get(len(folders), ())
                    if file_name in wanted:
                        found[path] = str(meta["e_tag"])
        return found

    def delete(self, key: str) -> None:
        with self._translated(key):
            obstore.delete(self._store, key)

    def delete_folder(self, prefix: str) -> None:
        with self._translated(prefix):
            for page in obstore.list(self._store, prefix):
                obstore.delete(self._store, [meta["path"] for meta in page])

    def prune(self, prefix: str) -> None:
        """Nothing to do: a folder is there as long as objects are."""

    @contextmanager
    def _translated(self, key: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as error:
            raise NotFound(f"no {key} in {self._uri}") from error
        except NotImplementedError as error:
            raise FailedPrecondition(
                f"{self._uri} cannot do what the model store needs: {_first_line(error)}"
            ) from error
        except exceptions.BaseError as error:
            if _FULL.search(str(error)):
                raise StorageFull(
                    f"no space to write {key} in {self._uri} ({_first_line(error)}); nothing was "
                    "published; free space, or raise the quota, and try again"
                ) from error
            refusals = (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError)
            # Listing reports a refusal as a generic error (obstore 0.12).
            if isinstance(error, refusals) or "403 Forbidden" in str(error):
                raise PermissionDenied(
                    f"{self._uri} refuses access to {key}; check AWS_ACCESS_KEY_ID and its policy"
                ) from error
            raise Unavailable(
                f"{self._uri} does not answer for {key}: {_first_line(error)}"
            ) from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
