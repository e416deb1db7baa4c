"""Pictures and what is on them in words: a ZIP archive of pictures and a table beside them.

The table is called captions.csv or metadata.csv (.tsv), and has the columns `file_name`, the
picture's path from the table's folder, and `text`. Below train/, test/ and validation/ each has
its own, or the option `split` names a column that says which part a picture is of. Of several
layouts that people use it is that of Hugging Face's image folders.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from trainer.preparation.archive import Archive, Entry, opened
from trainer.preparation.columns import said_parts
from trainer.preparation.examples import PART_NAMES, Examples, Tick
from trainer.preparation.images import SUFFIXES, UNITS, read_pictures
from trainer.preparation.limits import MAX_EXAMPLES
from trainer.preparation.sequences import check_texts, decoded, objects, told_lengths
from wintergarden.errors import InvalidArgument
from wintergarden.store.preparation import PreparationOptions

TABLES = tuple(f"{name}{end}" for name in ("captions", "metadata") for end in (".csv", ".tsv"))
FILE_NAME = "file_name"
MAX_CAPTION_BYTES = 2**16
MAX_TABLE_BYTES = 256 * 2**20
_LAYOUT = (
    f"the layout is pictures and a table {' or '.join(TABLES[::2])} beside them with the columns "
    f"{FILE_NAME} and text, or the same below train and test"
)


@dataclass(frozen=True)
class _Captioned:
    """A row of a table; `said_part` is as people write it, empty where nothing says so."""

    picture: Entry
    caption: str
    said_part: str


def read_captions(path: Path, options: PreparationOptions, tick: Tick) -> Examples:
    """The pictures (N, C, H, W) uint8 of an archive, and their captions (N,).

    Raises:
        InvalidArgument: no such archive, a picture that is not there, or that is captioned twice.
    """
    with opened(path) as archive:
        found = [each for table in _tables(archive) for each in _rows(archive, table, options)]
        if not found:
            raise InvalidArgument(f"the tables of the archive have no rows; {_LAYOUT}")
        if len(found) > MAX_EXAMPLES:
            raise InvalidArgument(
                f"there are {len(found)} captions; at most {MAX_EXAMPLES} are allowed"
            )
        _check_once([each.picture for each in found])
        captions = [each.caption for each in found]
        check_texts(captions, f"column {options.text!r:.80}", MAX_CAPTION_BYTES)
        said = [each.said_part for each in found]
        parts = said_parts(said, options.split) if options.split or any(said) else None
        entries = [each.picture for each in found]
        inputs, details, warnings = read_pictures(archive, entries, options, tick)
        pictures = {
            name for name, e in archive.entries.items() if e.path.suffix.lower() in SUFFIXES
        }
    if unnamed := sorted(pictures - {str(entry.path) for entry in entries}):
        warnings.append(
            f"{len(unnamed)} pictures have no caption and were left out: {unnamed[0]!r:.80} …"
        )
    return Examples(
        task="captioning",
        inputs=inputs,
        labels=objects(captions),
        class_labels=(),
        input_name="image",
        units=options.units or UNITS,
        value_range=(0.0, 1.0),
        parts=parts,
        details=details | {"target_characters": told_lengths(captions)},
        warnings=warnings,
    )


def _tables(archive: Archive) -> list[Entry]:
    tables = [e for _, e in sorted(archive.entries.items()) if e.path.name.lower() in TABLES]
    if not tables:
        raise InvalidArgument(f"the archive has no table of captions; {_LAYOUT}")
    folders = [entry.path.parent.name for entry in tables]
    twice = len({entry.path.parent for entry in tables}) < len(tables)
    if len(tables) > 1 and (twice or not all(name.lower() in PART_NAMES for name in folders)):
        told = ", ".join(f"{str(entry.path)!r:.80}" for entry in tables[:5])
        raise InvalidArgument(f"there are {len(tables)} tables of captions ({told}); {_LAYOUT}")
    return tables


def _rows(archive: Archive, table: Entry, options: PreparationOptions) -> Iterator[_Captioned]:
    name, folder = str(table.path), table.path.parent
    if table.bytes > MAX_TABLE_BYTES:
        raise InvalidArgument(
            f"{name!r:.120} has {table.bytes} bytes; at most {MAX_TABLE_BYTES} are allowed"
        )
    delimiter = options.delimiter or ("\t" if table.path.suffix.lower() == ".tsv" else ",")
    text = decoded(archive.read(table), f"{name!r:.120}")
    rows = csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        columns = [*(rows.fieldnames or ())]
        wanted = (FILE_NAME, options.text, *([options.split] if options.split else []))
        if absent := [column for column in wanted if column not in columns]:
            raise InvalidArgument(
                f"{name!r:.120} has no column {absent[0]!r:.80}; it has "
                f"{', '.join(map(repr, columns[:10]))}"
            )
        below = folder.name.lower() if folder.name.lower() in PART_NAMES else ""
        for number, row in enumerate(rows, 2):
            if None in row or None in row.values():  # values too many, or too few
                raise InvalidArgument(
                    f"{name!r:.120}, line {number}: it has not {len(columns)} values, as the "
                    "header has; texts with the delimiter in them stand in double quotes"
                )
            file_name = row[FILE_NAME]
            entry = archive.entries.get(str(folder / file_name))
            if entry is None:
                raise InvalidArgument(
                    f"{name!r:.120}, line {number}: there is no file {file_name!r:.120} in "
                    "the table's folder"
                )
            yield _Captioned(
                entry, row[options.text], row[options.split] if options.split else below
            )
    except csv.Error as error:
        raise InvalidArgument(f"{name!r:.120} is no CSV file: {error}") from error


def _check_once(pictures: list[Entry]) -> None:
    (name, count), *_ = Counter(str(entry.path) for entry in pictures).most_common(1)
    if count > 1:
        raise InvalidArgument(
            f"{name!r:.120} has {count} captions; allowed is one, so that no picture is in two "
            "parts: keep one, or give the others copies of the picture"
        )
