"""A version in the making."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from wintergarden.errors import AlreadyExists, InvalidArgument, StorageFull, WintergardenError
from wintergarden.store.manifest import FileInfo, Manifest, ManifestFields, complete
from wintergarden.store.names import is_file_name, version_key
from wintergarden.store.objects import Objects
from wintergarden.store.publication import carry_out, decide

_log = logging.getLogger(__name__)


class Draft:
    """A claimed version number and what is written below it so far.

    Nobody sees any of it before `commit`, and leaving without `commit` burns the number.

        with store.publish("lenet5") as draft:
            draft.write("model.onnx", Path("exported.onnx"))
            manifest = draft.commit(ManifestFields(…))
    """

    def __init__(self, objects: Objects, model: str, version: int) -> None:
        self.model = model
        self.version = version
        self._objects = objects
        self._folder = version_key(model, version)
        self._files: dict[str, FileInfo] = {}
        self._is_open = True

    @property
    def files(self) -> Mapping[str, FileInfo]:
        return dict(self._files)

    def write(self, name: str, content: bytes | Path) -> FileInfo:
        """Adds a file.

        Args:
            name: such as `model.onnx` or `card/README.md`.
            content: the bytes, or a file to copy.

        Raises:
            InvalidArgument: the name is not allowed.
            AlreadyExists: the draft has that file.
            FailedPrecondition: the storage is full.
        """
        self._check_open()
        if not is_file_name(name):
            raise InvalidArgument(f"{name!r:.200} is no name for a file of a version")
        if name in self._files:
            raise AlreadyExists(f"{self.model}/{self.version} has {name} already")
        info = self._objects.put(f"{self._folder}/{name}", content)
        self._files[name] = info
        return info

    def commit(self, fields: ManifestFields, publication: str = "") -> Manifest:
        """Publishes: from now on every reader sees the version, whole.

        Args:
            fields: of the manifest.
            publication: what is published, where several may publish it: one version of it is
                ever visible, and answered to all; see `store.publication`.

        Raises:
            InvalidArgument: the manifest is not valid, or `model.onnx` was not written.
            AlreadyExists: the version was published by somebody else, against all rules.
        """
        self._check_open()
        manifest = complete(
            fields,
            model=self.model,
            version=self.version,
            files=self._files,
            created_at=datetime.now(UTC),
        )
        if publication and (decided := self._decide(publication, manifest)) != manifest:
            _log.info("%s was published as version %d", publication, decided.version)
            return decided  # and what is written here goes
        if not carry_out(self._objects, manifest):
            raise AlreadyExists(
                f"{self.model}/{self.version} is published already, or was deleted meanwhile"
            )
        self._is_open = False
        _log.info("published %s/%d, digest %s", self.model, self.version, manifest.digest)
        return manifest

    def __enter__(self) -> Draft:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if not self._is_open:
            return
        self._is_open = False
        # The claim stays: no later version may carry the number.
        for name in self._files:
            with suppress(WintergardenError, OSError):
                self._objects.delete(f"{self._folder}/{name}")
        _log.info("abandoned %s/%d; its number is not used again", self.model, self.version)

    def _decide(self, publication: str, manifest: Manifest) -> Manifest:
        """What is to be visible; where that is this version, its files stay from now on."""
        # Whoever finds the intent needs the files, and it may be there although an error says no.
        self._is_open = False
        try:
            decided = decide(self._objects, publication, manifest)
        except StorageFull:
            self._is_open = True
            raise
        self._is_open = decided != manifest
        return decided

    def _check_open(self) -> None:
        if not self._is_open:
            raise InvalidArgument(f"the draft of {self.model}/{self.version} is closed")
