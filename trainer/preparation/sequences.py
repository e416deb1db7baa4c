"""Texts to be written: pairs of a source and a target in a table, and documents of a language."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from trainer.data.dataset import Array
from trainer.preparation import columns, tables
from trainer.preparation.archive import opened
from trainer.preparation.examples import Examples, Tick
from trainer.preparation.limits import MAX_EXAMPLES
from trainer.preparation.writings import MAX_TEXT_BYTES
from wintergarden.errors import InvalidArgument
from wintergarden.store.preparation import PreparationOptions

DOCUMENTS = 100
"""That one plain text is cut into, at ends of lines, so that parts can be made of it."""
MAX_DOCUMENT_BYTES = 64 * 2**20


def read_pairs(path: Path, options: PreparationOptions, tick: Tick) -> Examples:
    """The texts (N,) of two columns of a CSV or TSV file: `text` is read, and `label` written.

    Raises:
        InvalidArgument: no such file, no UTF-8, or a text that is empty or too long.
    """
    table = tables.read_csv(path, options, texts=(options.label, options.text))
    tables.check_rows(table.num_rows)
    for option in ("label", "text"):
        tables.check_there_is(getattr(options, option), table.column_names, option)
    sources = columns.texts(table, options.text)
    targets = columns.texts(table, options.label)
    parts = None
    if options.split:
        tables.check_there_is(options.split, table.column_names, "split")
        parts = columns.part_column(table, options.split)
    for name, found in ((options.text, sources), (options.label, targets)):
        check_texts(found, f"column {name!r:.80}", MAX_TEXT_BYTES)
    tick(1.0)
    return Examples(
        task="sequence-to-sequence",
        inputs=objects(sources),
        labels=objects(targets),
        class_labels=(),
        input_name="text",
        units=options.units or "text",
        parts=parts,
        details={"characters": told_lengths(sources), "target_characters": told_lengths(targets)},
    )


def read_documents(path: Path, options: PreparationOptions, tick: Tick) -> Examples:
    """The documents (N,) of a language: the .txt files of an archive, or one text in pieces.

    White space stays as it is.

    Raises:
        InvalidArgument: no such file, no UTF-8, or a document that is empty or too long.
    """
    ignored: list[str] = []
    if zipfile.is_zipfile(path):
        documents, ignored = _archived(path, tick)
    else:
        documents = _cut(_plain(path))
    check_texts(documents, "a language", MAX_DOCUMENT_BYTES)
    return Examples(
        task="language-modelling",
        inputs=objects(documents),
        labels=np.zeros(len(documents), np.int64),
        class_labels=(),
        input_name="text",
        units=options.units or "text",
        details={"characters": told_lengths(documents)},
        warnings=[f"{len(ignored)} files do not end in .txt: left out ({ignored[0]} …)"]
        if ignored
        else [],
    )


def _archived(path: Path, tick: Tick) -> tuple[list[str], list[str]]:
    """The documents, and the names of files left out."""
    with opened(path) as archive:
        is_text = {name: e.path.suffix.lower() == ".txt" for name, e in archive.entries.items()}
        entries = [archive.entries[name] for name in sorted(is_text) if is_text[name]]
        if len(entries) > MAX_EXAMPLES:
            raise InvalidArgument(
                f"there are {len(entries)} files; at most {MAX_EXAMPLES} are allowed"
            )
        documents = []
        for index, entry in enumerate(entries, 1):
            documents.append(decoded(archive.read(entry), str(entry.path)))
            tick(index / len(entries))
    if not documents:
        raise InvalidArgument("the archive has no text files (.txt)")
    return documents, [f"{name!r:.80}" for name in sorted(is_text) if not is_text[name]]


def _plain(path: Path) -> str:
    if (size := path.stat().st_size) > MAX_DOCUMENT_BYTES:
        raise InvalidArgument(
            f"the text has {size} bytes; at most {MAX_DOCUMENT_BYTES} are allowed in one file: "
            "put several into a ZIP archive"
        )
    return decoded(path.read_bytes(), "the text")


def _cut(text: str) -> list[str]:
    """Whole lines together, in pieces of like length."""
    size, pieces, lines, length = len(text) / DOCUMENTS, [], [], 0
    for line in text.splitlines(keepends=True):
        lines.append(line)
        length += len(line)
        if length >= size:
            pieces.append("".join(lines))
            lines, length = [], 0
    if lines:
        pieces.append("".join(lines))
    return [piece for piece in pieces if piece.strip()]


def decoded(content: bytes, name: str) -> str:
    """A text; InvalidArgument where it is not in UTF-8."""
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidArgument(
            f"{name:.120} is not in UTF-8: byte {error.start}; save it as UTF-8"
        ) from error


def check_texts(texts: Sequence[str], what: str, most: int) -> None:
    """Refuses texts that are empty or too long."""
    for row, text in enumerate(texts, 1):
        if not text.strip():
            raise InvalidArgument(
                f"example {row} of {what} is an empty text; complete it or leave it out"
            )
        if (size := len(text.encode())) > most:
            raise InvalidArgument(
                f"example {row} of {what} is a text of {size} bytes; at most {most} are allowed"
            )


def told_lengths(texts: Sequence[str]) -> dict[str, float]:
    """In characters, for the report."""
    lengths = [len(text) for text in texts]
    return {"least": min(lengths), "most": max(lengths), "mean": sum(lengths) / len(lengths)}


def objects(texts: Sequence[str]) -> Array:
    """(N,) of `str`."""
    return np.array(texts, dtype=object)
