"""CSV and Parquet files as tables, checked before their values are looked at."""

from __future__ import annotations

import codecs
import csv
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from trainer.preparation.limits import (
    MAX_COLUMNS,
    MAX_EXAMPLES,
    MAX_NAME_CHARACTERS,
    MAX_UNPACKED_BYTES,
)
from wintergarden.errors import InvalidArgument
from wintergarden.store.preparation import PreparationOptions

Table = Any  # pyarrow.Table: pyarrow ships no types
MAX_CSV_BYTES = 2**31 - 2
"""It is read as one block, whose length is an int32."""
_HEADER_BYTES = 2**20
_SHOWN = 30


def make_ready() -> None:
    """Have pyarrow import and start what it needs: where memory is limited, it would wait for ever.

    It imports pandas with its first array, and reads files in threads of its own.
    """
    pa.set_io_thread_count(1)
    pyarrow.csv.read_csv(io.BytesIO(b"x\n1\n"), pyarrow.csv.ReadOptions(use_threads=False))
    pa.array([0])


def read_csv(path: Path, options: PreparationOptions, texts: Sequence[str] = ()) -> Table:
    """The table of a CSV file with a header line.

    Args:
        path: of the file, in UTF-8.
        options: whose delimiter is taken, or the one of the first line.
        texts: columns that are read as they are, whatever they look like.

    Raises:
        InvalidArgument: it is no such file; the message says where.
    """
    size = path.stat().st_size
    if size > MAX_CSV_BYTES:
        raise InvalidArgument(
            f"the CSV file has {size} bytes; at most {MAX_CSV_BYTES} are read: save it as Parquet"
        )
    header, delimiter = _header(path, options.delimiter)
    check_columns(header)
    known = [name for name in texts if name in header]
    try:
        return pyarrow.csv.read_csv(
            path,
            # One block, for the types of columns are guessed from the first.
            pyarrow.csv.ReadOptions(use_threads=False, block_size=size + 1),
            pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
            pyarrow.csv.ConvertOptions(
                column_types={name: pa.string() for name in known},
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )
    except pa.ArrowMemoryError:
        raise
    except (pa.ArrowException, OverflowError) as error:
        if "UTF8" in str(error):
            raise _not_utf8(path) from error
        raise InvalidArgument(f"the file is no CSV file: {_first_line(error)}") from error


def read_parquet(path: Path) -> Table:
    """The table of a Parquet file.

    Raises:
        InvalidArgument: it is none, or unpacks to more than is allowed.
    """
    try:
        with pyarrow.parquet.ParquetFile(path, pre_buffer=False) as file:
            _check_size(file)
            # A long text that is repeated stays one text: as a dictionary.
            long = [field.name for field in file.schema_arrow if pa.types.is_string(field.type)]
        # Not by read_table, whose threads would wait for memory that they never get.
        with pyarrow.parquet.ParquetFile(path, read_dictionary=long, pre_buffer=False) as file:
            table = file.read(use_threads=False)
        table.validate(full=True)  # indices that lead out of a dictionary, text that is no UTF-8
        return table
    except pa.ArrowMemoryError:
        raise
    except (pa.ArrowException, OSError, OverflowError, ValueError) as error:
        raise InvalidArgument(f"the file is no Parquet file: {_first_line(error)}") from error


def _check_size(file: Any) -> None:
    """By what a Parquet file says of itself."""
    metadata = file.metadata
    check_columns(file.schema_arrow.names)
    check_rows(metadata.num_rows)
    groups = range(metadata.num_row_groups)
    unpacked = sum(metadata.row_group(index).total_byte_size for index in groups)
    if unpacked > MAX_UNPACKED_BYTES:
        raise InvalidArgument(
            f"the file unpacks to {unpacked} bytes; at most {MAX_UNPACKED_BYTES} are allowed"
        )


def check_columns(names: Sequence[str]) -> None:
    """Refuses too many columns, and those without a name of their own."""
    if len(names) > MAX_COLUMNS:
        raise InvalidArgument(f"there are {len(names)} columns; at most {MAX_COLUMNS} are allowed")
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InvalidArgument(
            f"columns {shown(twice)} are there more than once; give each a name of its own"
        )
    longest = max(names, key=len, default="")
    if len(longest) > MAX_NAME_CHARACTERS:
        raise InvalidArgument(
            f"column {longest!r:.60} … has a name of {len(longest)} characters; at most "
            f"{MAX_NAME_CHARACTERS} are allowed"
        )
    if "" in names:
        raise InvalidArgument(
            f"column {list(names).index('') + 1} has no name; columns need one in the first line"
        )


def check_rows(rows: int) -> None:
    if rows > MAX_EXAMPLES:
        raise InvalidArgument(f"there are {rows} examples; at most {MAX_EXAMPLES} are allowed")


def check_there_is(name: str, names: Sequence[str], option: str) -> None:
    """Refuses a column that is not there, and names those that are."""
    if name not in names:
        raise InvalidArgument(
            f"there is no column {name!r:.80} for the option {option!r}; there are {shown(names)}",
            field=f"options.{option}",
        )


def shown(names: Sequence[str]) -> str:
    """Names for a message, which has to fit."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(f"{name:.40}" for name in names[:_SHOWN]) + more


def _header(path: Path, delimiter: str) -> tuple[list[str], str]:
    with path.open("rb") as file:
        start = file.read(_HEADER_BYTES)
    if not start.strip():
        raise InvalidArgument("the file is empty")
    if b"\0" in start:
        raise InvalidArgument("the file is no CSV file: it has bytes that are zero")
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    try:  # where there is more to come, a character may be cut in two at the end
        text = decoder.decode(start, final=len(start) < _HEADER_BYTES)
    except UnicodeDecodeError as error:
        raise _not_utf8(path) from error
    first_line = text.partition("\n")[0]
    if not first_line.strip():
        raise InvalidArgument("the first line is empty; it must name the columns")
    chosen = delimiter or ("\t" if "\t" in first_line else ",")
    try:
        return next(csv.reader(io.StringIO(text, newline=""), delimiter=chosen)), chosen
    except csv.Error as error:
        raise InvalidArgument(f"the first line is no header: {error}") from error


def _not_utf8(path: Path) -> InvalidArgument:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode()
            except UnicodeDecodeError as error:
                return InvalidArgument(
                    f"the file is not in UTF-8: line {number} has byte "
                    f"{line[error.start]:#04x} at {error.start}; save it as UTF-8"
                )
    return InvalidArgument("the file is not in UTF-8; save it as UTF-8")


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
