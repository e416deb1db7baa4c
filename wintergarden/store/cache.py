"""Files of stores that are no directory, kept on this machine under their digests."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

from wintergarden.store.directory import pieces, translate
from wintergarden.store.manifest import FileInfo

MAX_BYTES = 20 * 2**30
# A path that was just handed out is not yet open.
_GRACE_S = 3600.0


class Cache:
    """Any number of processes may share one; what is spoilt in it is fetched again."""

    def __init__(self, directory: Path, max_bytes: int = MAX_BYTES) -> None:
        self._directory = directory
        self._max_bytes = max_bytes

    def get(self, expected: FileInfo) -> Path | None:
        """The file, verified now, or None."""
        path = self._directory / expected.sha256
        with suppress(FileNotFoundError):
            if fingerprint(path) == expected:
                os.utime(path)  # its modification time is when it was last used
                return path
        return None

    def add(self, chunks: Iterable[bytes], expected: FileInfo) -> Path | FileInfo:
        """Keeps what arrives if it is what was expected; otherwise says what it was.

        Raises:
            FailedPrecondition: the disk is full.
            PermissionDenied: the cache may not be written.
        """
        part = self._directory / f".part-{uuid4().hex}"
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            got = _receive(chunks, part, expected.bytes)
            if got != expected:
                return got
            path = self._directory / expected.sha256
            part.replace(path)
            self._prune()
            return path
        except OSError as error:
            raise translate(error, "write", part) from error
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)

    def _prune(self) -> None:
        """Drops what was not used for longest, down to the limit."""
        files = []
        for path in self._directory.iterdir():
            with suppress(FileNotFoundError):
                status = path.stat()
                files.append((status.st_mtime, status.st_size, path))
        excess = sum(size for _, size, _ in files) - self._max_bytes
        for used, size, path in sorted(files):
            if excess <= 0 or used > time.time() - _GRACE_S:
                return
            path.unlink(missing_ok=True)
            excess -= size


def fingerprint(path: Path) -> FileInfo:
    """What a file really is."""
    digest, size = hashlib.sha256(), 0
    for piece in pieces(path):
        digest.update(piece)
        size += len(piece)
    return FileInfo(sha256=digest.hexdigest(), bytes=size)


def _receive(chunks: Iterable[bytes], part: Path, limit: int) -> FileInfo:
    digest, size = hashlib.sha256(), 0
    with part.open("xb") as file:
        for chunk in chunks:
            size += len(chunk)
            digest.update(chunk)
            if size > limit:
                break  # it is wrong already, and may have no end
            file.write(chunk)
    return FileInfo(sha256=digest.hexdigest(), bytes=size)
