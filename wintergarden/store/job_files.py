"""What jobs keep in the store beside the models: checkpoints and whatever else is theirs.

    jobs/<job id>/<name>      such as jobs/<job id>/<fence>/checkpoint-<step>.ckpt

Which of these files count is said elsewhere, by the job's record. Knows no jobs and no Redis.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from wintergarden.errors import InvalidArgument
from wintergarden.store.directory import is_abandoned
from wintergarden.store.manifest import FileInfo
from wintergarden.store.names import is_file_name
from wintergarden.store.objects import Objects
from wintergarden.store.storage import open_storage

_JOB_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_FOLDER = "jobs"


class JobFiles:
    """The files of one job. Names are below `jobs/<job id>/`.

    Every method raises `Unavailable` where the storage does not answer, `PermissionDenied` where
    it refuses, and `FailedPrecondition` where it is full.
    """

    def __init__(self, objects: Objects, job_id: str) -> None:
        if not _JOB_ID.fullmatch(job_id):
            raise InvalidArgument(
                f"job id {job_id!r:.140}: expected 1 to 128 letters, digits, - and _",
                field="job_id",
            )
        self._objects = objects
        self._folder = f"{_FOLDER}/{job_id}"

    def put(self, name: str, content: bytes | Path) -> FileInfo:
        """Writes a file, durably: whoever finds it finds all of it, also after a loss of power."""
        return self._objects.put(self._key(name), content)

    def read(self, name: str, limit: int) -> bytes:
        """A file's bytes.

        Raises:
            NotFound: there is none of that name.
            DataLoss: it has more than `limit` bytes.
        """
        return self._objects.read(self._key(name), limit)

    def read_part(self, name: str, offset: int, length: int) -> bytes:
        """Up to `length` bytes of a file from `offset` on; none at its end.

        Raises:
            NotFound: there is none of that name.
        """
        return self._objects.part(self._key(name), offset, length)

    def names(self, folder: str = "") -> list[str]:
        """Names of all files, or of those below a folder, in alphabetical order."""
        prefix = self._key(folder) if folder else self._folder
        start = len(self._folder) + 1
        names = [key[start:] for key in self._objects.keys(prefix)]
        return sorted(name for name in names if is_file_name(name))

    def folders(self) -> list[str]:
        """Names of the folders directly below the job's."""
        return self._objects.folders(self._folder)

    def delete(self, name: str) -> None:
        """Deletes a file, if it is there."""
        self._objects.delete(self._key(name))

    def delete_abandoned(self, folder: str) -> None:
        """Deletes what writers that were killed left below a folder, whose writers all ended."""
        for key in self._objects.keys(self._key(folder)):
            if is_abandoned(key):
                self._objects.delete(key)

    def delete_folder(self, folder: str = "") -> None:
        """Deletes all files, or those below a folder, and what killed writers left among them."""
        self._objects.delete_folder(self._key(folder) if folder else self._folder)

    def prune(self) -> None:
        """Removes folders that nothing is in, the job's own included."""
        self._objects.prune(self._folder)

    def _key(self, name: str) -> str:
        if not is_file_name(name):
            raise InvalidArgument(
                f"file name {name!r:.140} is not allowed: up to 4 parts, each of up to 128 "
                "letters, digits and . _ - , the first a letter, a digit or _",
                field="name",
            )
        return f"{self._folder}/{name}"


def open_job_files(store_uri: str, job_id: str) -> JobFiles:
    """The files of a job; nothing is read or written yet.

    Raises:
        InvalidArgument: no such kind of store, or no id of a job.
    """
    return JobFiles(open_storage(store_uri), job_id)


def job_file_reader(store_uri: str) -> Callable[[str, str, int], bytes]:
    """Reads a file by its job's id, its name and how many bytes it may have; see `JobFiles.read`.

    Raises:
        InvalidArgument: no such kind of store.
    """
    storage = open_storage(store_uri)
    return lambda job_id, name, limit: JobFiles(storage, job_id).read(name, limit)


def jobs_with_files(store_uri: str) -> list[str]:
    """Ids of the jobs that have files in the store, in alphabetical order."""
    return [name for name in open_storage(store_uri).folders(_FOLDER) if _JOB_ID.fullmatch(name)]
