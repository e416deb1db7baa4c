"""A directory as storage.

By hand and not with obstore's LocalStore, which does not fsync (0.12): after a loss of power a
published manifest could be an empty file.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO
from uuid import uuid4

from wintergarden.errors import (
    DataLoss,
    NotFound,
    PermissionDenied,
    StorageFull,
    WintergardenError,
)
from wintergarden.store.manifest import FileInfo

_CHUNK = 2**20
# No name of ours starts with a dot, so what a killed writer leaves is never taken for an object.
_PART = ".part-"


class Directory:
    """Implements `Objects`."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()

    @property
    def uri(self) -> str:
        return str(self._root)

    def create(self, key: str, content: bytes) -> bool:
        target = self._root / key
        with self._staged(target, content) as (part, _):
            try:
                os.link(part, target)
            except FileExistsError:
                return False
            _sync_directory(target.parent)
        return True

    def swap(self, key: str, expected: bytes | None, content: bytes) -> bool:
        target = self._root / key
        with _translated("write", target), _locked(target):
            try:
                current = target.read_bytes()
            except FileNotFoundError:
                current = None
            if current != expected:
                return False
            self.put(key, content)
        return True

    def put(self, key: str, content: bytes | Path) -> FileInfo:
        target = self._root / key
        with self._staged(target, content) as (part, info):
            part.replace(target)
            _sync_directory(target.parent)
        return info

    def read(self, key: str, limit: int) -> bytes:
        with self._opened(key) as file:
            # The size, for a read makes room for as much as it is asked for before it begins.
            content = file.read(min(limit, os.fstat(file.fileno()).st_size) + 1)
        if len(content) > limit:
            raise DataLoss(f"{key} is larger than {limit} bytes")
        return content

    def chunks(self, key: str) -> Iterator[bytes]:
        with self._opened(key) as file:
            while chunk := file.read(_CHUNK):
                yield chunk

    def part(self, key: str, offset: int, length: int) -> bytes:
        with self._opened(key) as file:
            # Not every file system can say where 2^62 is.
            file.seek(min(offset, os.fstat(file.fileno()).st_size))
            return file.read(length)

    def local_path(self, key: str) -> Path | None:
        return self._root / key

    def folders(self, prefix: str) -> list[str]:
        try:
            with os.scandir(self._root / prefix) as entries:
                return sorted(e.name for e in entries if e.is_dir() and e.name[0] != ".")
        except (FileNotFoundError, NotADirectoryError):
            return []

    def keys(self, prefix: str) -> list[str]:
        folder = self._root / prefix
        return sorted(
            str((Path(directory) / name).relative_to(self._root))
            for directory, _, names in os.walk(folder)
            for name in names
        )

    def find(self, version_file: str, *model_files: str) -> dict[str, str]:
        found = {}
        for model in self.folders("models"):
            names = [f"{version}/{version_file}" for version in self.folders(f"models/{model}")]
            for name in (*names, *model_files):
                key = f"models/{model}/{name}"
                try:
                    found[key] = tag(self._root / key)
                except OSError:
                    continue
        return found

    def delete(self, key: str) -> None:
        path = self._root / key
        with _translated("delete", path), suppress(FileNotFoundError):  # nor may its folder be
            path.unlink(missing_ok=True)
            _sync_directory(path.parent)

    def delete_folder(self, prefix: str) -> None:
        folder = self._root / prefix
        with _translated("delete", folder), suppress(FileNotFoundError):
            shutil.rmtree(folder)
            _sync_directory(folder.parent)

    def prune(self, prefix: str) -> None:
        for directory, _, _ in os.walk(self._root / prefix, topdown=False):
            with suppress(OSError):  # something is in it, or somebody was faster
                Path(directory).rmdir()

    @contextmanager
    def _opened(self, key: str) -> Iterator[BinaryIO]:
        path = self._root / key
        try:
            file = path.open("rb")
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
            raise NotFound(f"no {key} in {self.uri}") from error
        except PermissionError as error:
            raise PermissionDenied(f"{path} may not be read by this process") from error
        with file:
            yield file

    @contextmanager
    def _staged(self, target: Path, content: bytes | Path) -> Iterator[tuple[Path, FileInfo]]:
        """The content in a file beside the target, on disk for good; removed if still there."""
        part = target.parent / f"{_PART}{uuid4().hex}"
        with _translated("write", target):
            _make_directory(target.parent)
            try:
                yield part, _write(part, content)
            finally:
                with suppress(OSError):
                    part.unlink(missing_ok=True)


def is_abandoned(key: str) -> bool:
    """Whether it is what a writer that was killed left, when no writer is at work there."""
    return key.rpartition("/")[2].startswith(_PART)


def tag(path: Path) -> str:
    """Changes when the file is replaced or written to."""
    status = path.stat()
    return f"{status.st_ino}-{status.st_mtime_ns}-{status.st_size}"


@contextmanager
def _locked(target: Path) -> Iterator[None]:
    """Keeps out every other process that would swap the same file."""
    _make_directory(target.parent)
    with (target.parent / f".{target.name}.lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _write(part: Path, content: bytes | Path) -> FileInfo:
    digest, size = hashlib.sha256(), 0
    with part.open("xb") as file:
        for chunk in pieces(content):
            file.write(chunk)
            digest.update(chunk)
            size += len(chunk)
        file.flush()
        os.fsync(file.fileno())
    return FileInfo(sha256=digest.hexdigest(), bytes=size)


def pieces(content: bytes | Path) -> Iterator[bytes]:
    """The content of a file in pieces, or bytes as they are."""
    if isinstance(content, bytes):
        yield content
        return
    with content.open("rb") as file:
        while chunk := file.read(_CHUNK):
            yield chunk


def _make_directory(directory: Path) -> None:
    if directory.is_dir():
        return
    _make_directory(directory.parent)
    directory.mkdir(exist_ok=True)
    _sync_directory(directory.parent)


def _sync_directory(directory: Path) -> None:
    """Makes the names in it survive a loss of power, as fsync does the content of files."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def _translated(verb: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise translate(error, verb, path) from error


def translate(error: OSError, verb: str, path: Path) -> WintergardenError | OSError:
    """What the operator can do about it; what nobody can do anything about stays as it is."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return StorageFull(
            f"no space to {verb} {path} ({os.strerror(error.errno)}); nothing was published; free "
            "space and try again"
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return PermissionDenied(f"this process may not {verb} {path} ({os.strerror(error.errno)})")
    return error
