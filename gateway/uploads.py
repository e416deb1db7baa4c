"""Uploads in chunks, each resumable where it broke off, in files that are swept when abandoned."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import threading
import time
from pathlib import Path

from wintergarden.errors import FailedPrecondition, InvalidArgument, NotFound, Overloaded

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_SPACE_PATIENCE_S = 30.0
_UPLOAD_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")


class Uploads:
    """Files under one folder, named by upload id.

    Args:
        folder: where they lie; created when it is missing.
        max_bytes: of one upload.
        max_uploads: unfinished at a time.
        max_idle_s: an upload untouched for longer is removed when room is needed.
    """

    def __init__(
        self,
        folder: Path,
        max_bytes: int,
        max_uploads: int = 8,
        max_idle_s: float = 3_600.0,
    ) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._max_uploads = max_uploads
        self._max_idle_s = max_idle_s
        self._lock = threading.Lock()

    def append(self, upload_id: str, offset: int, chunk: bytes) -> int:
        """Adds a chunk at `offset`; returns the bytes held.

        A chunk that is already held, whole or in part, is no error: its answer was lost. An
        empty chunk asks how much is held.

        Raises:
            FailedPrecondition: the chunk would leave a gap; the message says where to go on.
            InvalidArgument: no valid id, or more bytes than are allowed.
            Overloaded: too many unfinished uploads, or the disk is full; what is held stays.
        """
        path = self._path(upload_id)
        if offset < 0 or offset + len(chunk) > self._max_bytes:
            raise InvalidArgument(
                f"an upload has bytes 0 to {self._max_bytes}, "
                f"got {len(chunk)} bytes at offset {offset}",
                field="offset",
            )
        with self._lock:
            if not path.exists():
                self._make_room()
            held = path.stat().st_size if path.exists() else 0
            if offset > held:
                raise FailedPrecondition(
                    f"upload {upload_id!r} holds {held} bytes, got offset {offset}; "
                    f"continue at {held}"
                )
            _write(path, chunk[held - offset :])
            return max(held, offset + len(chunk))

    def read(self, upload_id: str, sha256: str) -> bytes:
        """The whole upload; as for `finished`."""
        return self.finished(upload_id, sha256).read_bytes()

    def finished(self, upload_id: str, sha256: str) -> Path:
        """Where the whole upload is.

        Raises:
            NotFound: no such upload.
            InvalidArgument: its digest is not `sha256`.
        """
        path = self._path(upload_id)
        try:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
        except FileNotFoundError as error:
            raise NotFound(f"no upload {upload_id!r}; it may have been idle too long") from error
        if digest != sha256.lower():
            raise InvalidArgument(
                f"upload {upload_id!r} holds {path.stat().st_size} bytes with sha256 {digest}, "
                f"expected {sha256!r}",
                field="sha256",
            )
        return path

    def discard(self, upload_id: str) -> None:
        self._path(upload_id).unlink(missing_ok=True)

    def _path(self, upload_id: str) -> Path:
        if not _UPLOAD_ID.fullmatch(upload_id):
            raise InvalidArgument(
                f"upload id {upload_id!r} is not 8 to 64 letters, digits, - and _",
                field="upload_id",
            )
        return self._folder / f"{upload_id}.upload"

    def _make_room(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        oldest = time.time() - self._max_idle_s
        held = 0
        for path in self._folder.glob("*.upload"):
            if path.stat().st_mtime < oldest:
                path.unlink(missing_ok=True)
            else:
                held += 1
        if held >= self._max_uploads:
            raise Overloaded(
                f"{held} uploads are unfinished, at most {self._max_uploads} are allowed",
                retry_after_s=60.0,
            )


def _write(path: Path, content: bytes) -> None:
    """Appends; what fits before the disk is full stays, and is the beginning of what was sent."""
    try:
        with path.open("ab", buffering=0) as file:
            left = memoryview(content)
            while left:
                left = left[file.write(left) :]
    except OSError as error:
        if error.errno not in _NO_SPACE:
            raise
        held = path.stat().st_size if path.exists() else 0
        raise Overloaded(
            f"no space left for the upload ({os.strerror(error.errno)}); its first {held} bytes "
            "are kept: go on from there when there is space",
            retry_after_s=_SPACE_PATIENCE_S,
        ) from error
