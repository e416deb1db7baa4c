"""Archives in which folders say what a file is: `class/file`, or `train/class/file`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trainer.data.dataset import Array
from trainer.preparation.archive import Archive, Entry
from trainer.preparation.examples import PART_NAMES
from trainer.preparation.limits import MAX_EXAMPLES
from wintergarden.errors import InvalidArgument


@dataclass(frozen=True)
class Placed:
    """A file and what its folders say about it."""

    entry: Entry
    class_label: str
    part: int | None


def place(
    archive: Archive, suffixes: Sequence[str], what: str
) -> tuple[list[Placed], Array | None, list[str]]:
    """The files of an archive, in the order of their names, whatever the archive's is.

    A folder around everything is looked through. Where the outermost folders are called train and
    test (and validation), they are the parts.

    Args:
        archive: that was checked.
        suffixes: of the files that are wanted.
        what: they are, for messages.

    Returns:
        The files, their parts (N,) where folders name them, and names of files left out.

    Raises:
        InvalidArgument: no such file, or one that lies in no class's folder.
    """
    files: list[Entry] = []
    left_out: list[str] = []
    for name, entry in sorted(archive.entries.items()):
        if entry.path.suffix.lower() in suffixes:
            files.append(entry)
        else:
            left_out.append(f"{name!r:.80}")
    if not files:
        raise InvalidArgument(
            f"the archive has no {what} ({', '.join(suffixes)}); it has "
            f"{', '.join(left_out[:5]) or 'no files'}"
        )
    if len(files) > MAX_EXAMPLES:
        raise InvalidArgument(f"there are {len(files)} files; at most {MAX_EXAMPLES} are allowed")
    folders = [entry.path.parts[:-1] for entry in files]
    skipped = _around(folders)
    has_parts = all(
        len(path) > skipped + 1 and path[skipped].lower() in PART_NAMES for path in folders
    )
    placed = []
    for entry, path in zip(files, folders, strict=True):
        inner = path[skipped:]
        part = PART_NAMES[inner[0].lower()] if has_parts else None
        classes = inner[1:] if has_parts else inner
        if len(classes) != 1:
            raise InvalidArgument(
                f"{str(entry.path)!r:.120} does not lie in the folder of a class; the layout is "
                "class/file, or train/class/file and test/class/file"
            )
        placed.append(Placed(entry, classes[0], part))
    parts = np.array([file.part for file in placed], np.int8) if has_parts else None
    return placed, parts, left_out


def _around(folders: Sequence[tuple[str, ...]]) -> int:
    """How many folders lie around everything, those of a lone class and a lone part excepted."""
    depth = 0
    while True:
        here = {path[depth] if len(path) > depth else None for path in folders}
        name = next(iter(here))
        is_around = (
            len(here) == 1
            and name is not None
            and name.lower() not in PART_NAMES
            and all(len(path) > depth + 1 for path in folders)
        )
        if not is_around:
            return depth
        depth += 1
