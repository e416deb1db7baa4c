"""A Triton model repository of ONNX models, as it stands.

    <root>/<model>/config.pbtxt           optional, like whatever it refers to
                   labels.txt  warmup/…  initial_state/…
                   <version>/model.onnx   and its external data beside it

https://github.com/triton-inference-server/server/blob/main/docs/user_guide/model_repository.md
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

import structlog

from services.inference.configuration import read_text
from services.inference.sources.confinement import confined_file, read_confined
from wintergarden.errors import NotFound, PermissionDenied, Unavailable
from wintergarden.store.directory import tag
from wintergarden.store.labels import LABELS, MAX_LABELS_BYTES, Labels, parse_labels
from wintergarden.store.names import CONFIGURATION, parse_version
from wintergarden.store.published import Published
from wintergarden.wire.model_config_pb2 import ModelConfig

_log = structlog.get_logger(__name__)

_MAX_CONFIGURATION_BYTES = 2**20
_MAX_FILE_BYTES = 64 * 2**20
_MAX_FILES = 10_000  # of a model; nobody means more, and a look must end


class TritonSource:
    """Implements `Source`."""

    kind = "Triton model repository"
    default_versions = 1

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()

    @property
    def uri(self) -> str:
        return str(self._root)

    def look(self) -> Mapping[str, Published]:
        try:
            names = sorted(_folders(self._root))
        except FileNotFoundError:
            return {}
        except PermissionError as error:
            raise PermissionDenied(f"{self._root} may not be read by this process") from error
        except OSError as error:
            raise Unavailable(f"{self._root} cannot be read: {error}") from error
        shown = {}
        for name in names:
            try:
                shown[name] = _look(self._root / name)
            except OSError as error:  # one folder that cannot be read hides no other
                _log.debug("model folder cannot be read", model=name, error=str(error))
        return shown

    def configuration(self, name: str) -> ModelConfig:
        try:
            content = read_confined(
                self._root / name, CONFIGURATION, f"model {name!r}", _MAX_CONFIGURATION_BYTES
            )
        except NotFound:
            return ModelConfig()
        return read_text(content, name)

    def labels(self, name: str) -> Labels:
        folder = self._root / name
        try:
            content = read_confined(folder, LABELS, f"model {name!r}", MAX_LABELS_BYTES)
        except NotFound:
            return Labels()
        return parse_labels(content, name)

    def files(self, name: str, version: int) -> FolderFiles:
        return FolderFiles(self._root / name, version)


class FolderFiles:
    """Implements `VersionFiles` on a model's folder; nothing says what its files should be."""

    manifest = None

    def __init__(self, folder: Path, version: int) -> None:
        self._folder = folder
        self._version = folder / str(version)
        self._label = f"model {folder.name!r} version {version}"

    def model(self, file_name: str) -> Path:
        return confined_file(self._version, file_name, self._label)

    def close(self) -> None:
        pass

    def golden(self) -> bytes | None:
        return None

    def read(self, path: str) -> bytes:
        return read_confined(self._folder, path, self._label, _MAX_FILE_BYTES)


def _look(folder: Path) -> Published:
    """Files change in place here, so that each tag stands for every file below."""
    numbers = sorted(v for name in _folders(folder) if (v := parse_version(name)) is not None)
    beside = _tags(folder, {str(number) for number in numbers})
    return Published(
        {number: _digest(_tags(folder / str(number))) for number in numbers},
        labels=beside.pop(LABELS, ""),
        configuration=_digest(beside),
    )


def _tags(folder: Path, left_out: Collection[str] = ()) -> dict[str, str]:
    """A tag for each file of a folder, at any depth."""
    tags: dict[str, str] = {}
    for directory, folders, names in os.walk(folder):
        here = Path(directory)
        if here == folder:
            folders[:] = [name for name in folders if name not in left_out]
        folders[:] = [name for name in folders if name[0] != "."]
        for name in names:
            if name[0] != "." and len(tags) < _MAX_FILES:
                with suppress(OSError):  # it went while we looked
                    tags[str((here / name).relative_to(folder))] = tag(here / name)
    return tags


def _folders(folder: Path) -> Iterator[str]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name[0] != "." and entry.is_dir():
                yield entry.name


def _digest(tags: Mapping[str, str]) -> str:
    return hashlib.sha256(repr(sorted(tags.items())).encode()).hexdigest()[:16] if tags else ""


def is_triton_repository(root: Path) -> bool:
    """Whether a directory looks like one: a folder in it has a configuration, or holds versions.

    In a model store of ours the folder `models` holds models, and their versions lie below.
    """
    try:
        names = list(_folders(root))
    except OSError:
        return False
    return any(_is_model(root / name) for name in names)


def _is_model(folder: Path) -> bool:
    if (folder / CONFIGURATION).is_file():
        return True
    versions = [name for name in _folders(folder) if parse_version(name) is not None]
    return any(next((folder / name).glob("*.onnx"), None) for name in versions)
