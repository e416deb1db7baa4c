"""Paths that a configuration or a stranger wrote, held to a folder."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from wintergarden.errors import InvalidArgument, NotFound, PermissionDenied, TooLarge

_MAX_DEPTH = 8
_MAX_PATH = 512


def confined_name(path: str, what: str) -> PurePosixPath:
    """The path, if it names something below the folder it will be joined to.

    Raises:
        InvalidArgument: it is absolute, climbs, hides a part or is too long.
    """
    parts = path.split("/")
    is_plain = all(
        part and not part.startswith(".") and part.isprintable() and "\\" not in part
        for part in parts
    )
    if not is_plain or len(parts) > _MAX_DEPTH or len(path.encode()) > _MAX_PATH:
        raise InvalidArgument(
            f"{what}: {path!r:.200} is not allowed; allowed are relative paths of up to "
            f"{_MAX_DEPTH} parts, none of which is empty or starts with a dot"
        )
    return PurePosixPath(path)


def confined_file(folder: Path, path: str, what: str) -> Path:
    """The file below a folder; links may not lead out of it.

    Raises:
        InvalidArgument: the path leads out.
        NotFound: there is no such file.
    """
    target = folder / confined_name(path, what)
    try:
        real = target.resolve(strict=True)
    except (OSError, RuntimeError) as error:
        raise NotFound(f"{what}: there is no {path!r:.200} in {folder}") from error
    if not real.is_relative_to(folder.resolve()):
        raise InvalidArgument(f"{what}: {target} is a link that leads out of {folder}")
    if not real.is_file():
        raise NotFound(f"{what}: {target} is not a file")
    return real


def read_confined(folder: Path, path: str, what: str, limit: int) -> bytes:
    """The content of a file below a folder.

    Raises:
        InvalidArgument: the path leads out.
        NotFound: there is no such file.
        PermissionDenied: it may not be read.
        TooLarge: it has more bytes than `limit`.
    """
    file = confined_file(folder, path, what)
    try:
        with file.open("rb") as stream:
            content = stream.read(limit + 1)
    except PermissionError as error:
        raise PermissionDenied(f"{what}: {file} may not be read ({os.strerror(13)})") from error
    if len(content) > limit:
        raise TooLarge(f"{what}: {file} is longer than the {limit} bytes that are allowed")
    return content
