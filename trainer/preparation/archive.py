"""ZIP archives without trust: what they claim is checked before anything is unpacked.

Nothing is ever extracted to a disk; names that would lead out of a folder are refused all the
same, since nobody means well with them.
"""

from __future__ import annotations

import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from trainer.preparation.limits import MAX_UNPACKED_BYTES
from wintergarden.errors import InvalidArgument

MAX_ENTRIES = 500_000
MAX_RATIO = 200
"""Unpacked to packed bytes; deflate can reach 1 032, what people have rarely passes 20."""
_RATIO_MATTERS_FROM = 2**20

_NESTED = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar", ".zst", ".jar")
_LITTER = ("__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini")
_LOCAL_HEADER_BYTES = 30
_UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError)


@dataclass(frozen=True)
class Entry:
    """A file of an archive, whose name is relative and stays below its folder."""

    path: PurePosixPath
    bytes: int
    source: zipfile.ZipInfo


class Archive:
    """An archive that passed the checks.

    Attributes:
        entries: its files, by name; folders and what file managers leave behind are left out.
    """

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self.entries = _check(archive.infolist())

    def read(self, entry: Entry) -> bytes:
        """The entry's bytes.

        Raises:
            InvalidArgument: they are damaged, or more than the archive said.
        """
        try:
            with self._archive.open(entry.source) as file:
                content = file.read(entry.bytes + 1)
        except (*_UNREADABLE, RuntimeError) as error:
            raise InvalidArgument(f"{_shown(str(entry.path))} is damaged: {error}") from error
        if len(content) != entry.bytes:
            raise InvalidArgument(
                f"{_shown(str(entry.path))} is damaged: the archive says it has {entry.bytes} "
                f"bytes, it has {'more' if len(content) > entry.bytes else len(content)}"
            )
        return content


@contextmanager
def opened(path: Path) -> Iterator[Archive]:
    """The archive in a file.

    Raises:
        InvalidArgument: it is none, or a trap; the message says which.
    """
    try:
        archive = zipfile.ZipFile(path)
    except _UNREADABLE as error:
        raise InvalidArgument(f"the file is no ZIP archive: {error}") from error
    with archive:
        yield Archive(archive)


def _check(members: list[zipfile.ZipInfo]) -> dict[str, Entry]:
    if len(members) > MAX_ENTRIES:
        raise InvalidArgument(
            f"the archive has {len(members)} entries; at most {MAX_ENTRIES} are allowed"
        )
    total = sum(member.file_size for member in members)
    if total > MAX_UNPACKED_BYTES:
        raise InvalidArgument(
            f"the archive unpacks to {total} bytes; at most {MAX_UNPACKED_BYTES} are allowed"
        )
    _check_overlap(members)
    entries: dict[str, Entry] = {}
    for member in members:
        path = _check_name(member)
        _check_kind(member)
        _check_ratio(member)
        if member.is_dir() or _is_litter(path):
            continue
        name = str(path)
        if name in entries:
            raise InvalidArgument(f"the archive has two entries called {_shown(name)}")
        if name.lower().endswith(_NESTED):
            raise InvalidArgument(
                f"{_shown(name)} is an archive within the archive; unpack it and pack its files"
            )
        entries[name] = Entry(path, member.file_size, member)
    return entries


def _check_overlap(members: list[zipfile.ZipInfo]) -> None:
    """Entries that share their bytes unpack to far more than any ratio tells.

    Fifield, "A better zip bomb", WOOT 2019.
    """
    end = 0
    for member in sorted(members, key=lambda member: member.header_offset):
        if member.header_offset < end:
            raise InvalidArgument(
                f"{_shown(member.filename)} shares its bytes with another entry: a ZIP bomb"
            )
        end = member.header_offset + _LOCAL_HEADER_BYTES + member.compress_size


def _check_name(member: zipfile.ZipInfo) -> PurePosixPath:
    # What zipfile makes of it already ends at a zero byte and has no backslashes of Windows.
    name = member.orig_filename
    path = PurePosixPath(name)
    if (
        not name
        or "\\" in name
        or any(ord(character) < 32 for character in name)
        or path.is_absolute()
        or ".." in path.parts
        or name[1:2] == ":"
    ):
        raise InvalidArgument(
            f"the entry {_shown(name)} could lead out of its folder: names must be relative, "
            "without '..', backslashes, drives and control characters"
        )
    return path


def _check_kind(member: zipfile.ZipInfo) -> None:
    mode = member.external_attr >> 16
    name = _shown(member.filename)
    if stat.S_ISLNK(mode):
        raise InvalidArgument(f"{name} is a symbolic link; pack the file that it leads to")
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise InvalidArgument(f"{name} is no ordinary file")
    if member.flag_bits & 0x1:
        raise InvalidArgument(f"{name} is encrypted; pack it without a password")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InvalidArgument(
            f"{name} is packed by method {member.compress_type}; allowed are stored and deflated"
        )


def _check_ratio(member: zipfile.ZipInfo) -> None:
    packed, unpacked = member.compress_size, member.file_size
    if unpacked > _RATIO_MATTERS_FROM and unpacked > MAX_RATIO * packed:
        raise InvalidArgument(
            f"{_shown(member.filename)} unpacks from {packed} to {unpacked} bytes, more than "
            f"{MAX_RATIO} times: a ZIP bomb, or better packed without compression"
        )


def _is_litter(path: PurePosixPath) -> bool:
    return any(part in _LITTER or part.startswith("._") for part in path.parts)


def _shown(name: str) -> str:
    return f"{name!r:.120}"
