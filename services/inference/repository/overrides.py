"""Model files that came with a load request, as a folder of their own.

Strangers' bytes: names are confined, sizes bounded, and nothing is written outside the folder.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from services.inference.sources.confinement import confined_name
from services.inference.sources.triton import FolderFiles
from wintergarden.errors import InvalidArgument, TooLarge
from wintergarden.store.directory import translate
from wintergarden.store.names import parse_version

_PREFIX = "file:"
_MAX_FILES = 1000
_MAX_BYTES = 2**30


class Overrides:
    """The folder exists while the `with` statement lasts; sessions keep what they have read."""

    def __init__(self, name: str, files: Mapping[str, bytes]) -> None:
        """Check the names; nothing is written yet.

        Args:
            name: of the model, for messages.
            files: content by `<version>/<path>`; `file:` may stand before it.

        Raises:
            InvalidArgument: a name is not allowed, or none belongs to a version.
            TooLarge: there is too much of it.
        """
        where = f"model {name!r:.200}: file"
        size = sum(map(len, files.values()))
        if len(files) > _MAX_FILES or size > _MAX_BYTES:
            raise TooLarge(
                f"{where}: {len(files)} files of {size} bytes in all; at most {_MAX_FILES} files "
                f"and {_MAX_BYTES} bytes are allowed"
            )
        self._files = {
            confined_name(path.removeprefix(_PREFIX), where): content
            for path, content in files.items()
        }
        numbers = {parse_version(path.parts[0]) for path in self._files if len(path.parts) > 1}
        self.versions = sorted(number for number in numbers if number is not None)
        if not self.versions:
            given = ", ".join(map(str, self._files))
            raise InvalidArgument(
                f"{where}: none belongs to a version; got {given:.500}, needed is one such as "
                "'file:1/model.onnx'"
            )
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    def graphs(self, file_name: str) -> list[Path]:
        """The graph of each version, where it has one."""
        paths = [self._root / str(version) / file_name for version in self.versions]
        return [path for path in paths if path.is_file()]

    def files(self, version: int) -> FolderFiles:
        """The files of a version; while the folder exists."""
        return FolderFiles(self._root, version)

    @property
    def _root(self) -> Path:
        if self._folder is None:
            raise RuntimeError("the folder of the overrides does not exist")
        return Path(self._folder.name)

    def __enter__(self) -> Overrides:
        self._folder = tempfile.TemporaryDirectory(prefix="wintergarden-load-")
        root = Path(self._folder.name)
        try:
            for path, content in self._files.items():
                target = root / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content)
        except OSError as error:
            self._folder.cleanup()
            raise translate(error, "write", root) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None
