"""What the model store needs of a storage: few verbs, one of them exclusive.

Keys are relative and `/`-separated; the model store builds them from validated names only.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from wintergarden.store.manifest import FileInfo


class Objects(Protocol):
    @property
    def uri(self) -> str:
        """For messages."""

    def create(self, key: str, content: bytes) -> bool:
        """Durably creates an object; False when there is one already, whoever made it.

        Atomic: of any number of writers at once one gets True, and no reader sees a part.
        """

    def put(self, key: str, content: bytes | Path) -> FileInfo:
        """Durably writes an object below the caller's own claim; a reader never sees a part."""

    def swap(self, key: str, expected: bytes | None, content: bytes) -> bool:
        """Durably replaces an object that is as expected; None expects that there is none.

        False: it is not. Atomic: of any number of writers that expect the same, one gets True.
        """

    def read(self, key: str, limit: int) -> bytes:
        """The object's bytes.

        Raises:
            NotFound: there is none.
            DataLoss: it is larger than `limit`.
        """

    def chunks(self, key: str) -> Iterator[bytes]:
        """The object's bytes, in pieces; NotFound when there is none."""

    def part(self, key: str, offset: int, length: int) -> bytes:
        """Up to `length` bytes from `offset` on, none at the end; NotFound when there is none."""

    def local_path(self, key: str) -> Path | None:
        """Where the object already is a file of this machine, if it is."""

    def folders(self, prefix: str) -> list[str]:
        """Names of the folders directly below a folder; [] when it does not exist."""

    def keys(self, prefix: str) -> list[str]:
        """Keys of all the objects below a folder, at any depth."""

    def find(self, version_file: str, *model_files: str) -> dict[str, str]:
        """Objects that are in every version or model → a tag that changes when the object does.

        Args:
            version_file: `models/*/*/<version_file>`.
            model_files: `models/*/<model_file>`.
        """

    def delete(self, key: str) -> None:
        """Deletes an object, if it is there."""

    def delete_folder(self, prefix: str) -> None:
        """Deletes all objects below a folder, if there are any, and the folder."""

    def prune(self, prefix: str) -> None:
        """Removes a folder, and those below it, as far as nothing is in them.

        What somebody writes at the same time stays.
        """
