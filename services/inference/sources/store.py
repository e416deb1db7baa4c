"""A model store of ours as a source."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from services.inference.configuration import read_text
from wintergarden.errors import DataLoss, TooLarge
from wintergarden.store import Artefact, Manifest, ModelStore
from wintergarden.store.labels import Labels
from wintergarden.store.names import GOLDEN
from wintergarden.store.published import Published
from wintergarden.wire.model_config_pb2 import ModelConfig

_MAX_FILE_BYTES = 64 * 2**20
# ONNX Runtime parses bytes under Python's lock, a file without: above this size the stop is felt
# by every request.
_LONG_BYTES = 4 * 2**20


class StoreSource:
    """Implements `Source`."""

    kind = "model store"
    default_versions = None

    def __init__(self, store: ModelStore) -> None:
        self._store = store

    @property
    def uri(self) -> str:
        return self._store.uri

    def look(self) -> Mapping[str, Published]:
        return self._store.look()

    def configuration(self, name: str) -> ModelConfig:
        content = self._store.read_configuration(name)
        return ModelConfig() if content is None else read_text(content, name)

    def labels(self, name: str) -> Labels:
        return self._store.labels(name)

    def files(self, name: str, version: int) -> StoreFiles:
        return StoreFiles(self._store, self._store.fetch(name, version))


class StoreFiles:
    """Implements `VersionFiles`; what a version holds is verified against its manifest."""

    def __init__(self, store: ModelStore, artefact: Artefact) -> None:
        self._store = store
        self._artefact = artefact
        self._copies: dict[str, int] = {}  # open descriptors

    @property
    def manifest(self) -> Manifest:
        return self._artefact.manifest

    def model(self, file_name: str) -> bytes | Path:
        """A long graph is copied to a file without a name, which nobody else can change."""
        info = self.manifest.files.get(file_name)
        if info is None or info.bytes < _LONG_BYTES or sys.platform != "linux":
            return self._artefact.read(file_name)
        if file_name not in self._copies:
            descriptor = os.memfd_create(file_name)
            try:
                self._artefact.copy(file_name, descriptor)
            except BaseException:
                os.close(descriptor)
                raise
            self._copies[file_name] = descriptor
        return Path(f"/proc/self/fd/{self._copies[file_name]}")

    def close(self) -> None:
        while self._copies:
            os.close(self._copies.popitem()[1])

    def golden(self) -> bytes | None:
        return self._artefact.read(GOLDEN) if self.manifest.is_verified else None

    def read(self, path: str) -> bytes:
        try:
            return self._store.read_file(self.manifest.model, path, _MAX_FILE_BYTES)
        except DataLoss as error:
            raise TooLarge(error.message) from error
