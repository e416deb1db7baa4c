"""Texts and their classes: a table with two columns, or a ZIP archive with a folder a class."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from trainer.data.dataset import Array
from trainer.preparation import columns, tables
from trainer.preparation.archive import opened
from trainer.preparation.examples import Examples, Tick, encode_classes
from trainer.preparation.folders import place
from wintergarden.errors import InvalidArgument
from wintergarden.store.preparation import PreparationOptions

MAX_TEXT_BYTES = 2**20


def read_texts(path: Path, options: PreparationOptions, tick: Tick) -> Examples:
    """The texts (N,) of a CSV or TSV file, or of the .txt files of an archive.

    Raises:
        InvalidArgument: no such file, no UTF-8, or a text that is empty or too long.
    """
    warnings = []
    if zipfile.is_zipfile(path):
        found, labels, parts, ignored = _of_folders(path, tick)
        if ignored:
            warnings.append(f"{len(ignored)} files do not end in .txt: left out ({ignored[0]} …)")
    else:
        table = tables.read_csv(path, options, texts=(options.label, options.text))
        tables.check_rows(table.num_rows)
        for option in ("label", "text"):
            tables.check_there_is(getattr(options, option), table.column_names, option)
        found = columns.texts(table, options.text)
        labels = columns.texts(table, options.label)
        parts = None
        if options.split:
            tables.check_there_is(options.split, table.column_names, "split")
            parts = columns.part_column(table, options.split)
    indices, class_labels = encode_classes(labels)
    for row, text in enumerate(found, 1):
        if not text.strip():
            raise InvalidArgument(f"example {row} is an empty text; complete it or leave it out")
        if len(text.encode()) > MAX_TEXT_BYTES:
            raise InvalidArgument(
                f"example {row} is a text of {len(text.encode())} bytes; at most "
                f"{MAX_TEXT_BYTES} are allowed"
            )
    lengths = [len(text) for text in found]
    return Examples(
        task="text-classification",
        inputs=np.array(found, dtype=object),
        labels=indices,
        class_labels=class_labels,
        input_name="text",
        units=options.units or "text",
        parts=parts,
        details={
            "characters": {
                "least": min(lengths),
                "most": max(lengths),
                "mean": sum(lengths) / len(lengths),
            }
        },
        warnings=warnings,
    )


def _of_folders(path: Path, tick: Tick) -> tuple[list[str], list[str], Array | None, list[str]]:
    with opened(path) as archive:
        placed, parts, ignored = place(archive, (".txt",), "text files")
        found = []
        for index, file in enumerate(placed):
            name = str(file.entry.path)
            if file.entry.bytes > MAX_TEXT_BYTES:
                raise InvalidArgument(
                    f"{name!r:.120} has {file.entry.bytes} bytes; at most {MAX_TEXT_BYTES} are "
                    "allowed"
                )
            try:
                found.append(archive.read(file.entry).decode("utf-8-sig"))
            except UnicodeDecodeError as error:
                raise InvalidArgument(
                    f"{name!r:.120} is not in UTF-8: byte {error.start}; save it as UTF-8"
                ) from error
            tick(index / len(placed))
    return found, [file.class_label for file in placed], parts, ignored
