"""From a table to numbers: which column is what, and categories as columns of 0 and 1."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trainer.data.dataset import Array
from trainer.preparation.examples import PART_NAMES, Examples, Tick, encode_classes
from trainer.preparation.limits import MAX_COLUMNS, MAX_NAME_CHARACTERS, MAX_PREPARED_BYTES
from trainer.preparation.tables import Table, check_rows, check_there_is, shown
from wintergarden.errors import InvalidArgument
from wintergarden.store.preparation import PreparationOptions

MISSING = "(missing)"
_EXACT_UP_TO = 2**24
"""float32 has 24 bits: larger integers may become their neighbours."""


def encode(table: Table, options: PreparationOptions, tick: Tick) -> Examples:
    """The examples of a table: every column but the label, the split and what is dropped.

    Raises:
        InvalidArgument: a column that is not there, or one that no number can be made of.
    """
    names = table.column_names
    check_rows(table.num_rows)
    check_there_is(options.label, names, "label")
    for option in ("drop", "categorical"):
        for name in getattr(options, option):
            check_there_is(name, names, option)
    if options.split:
        check_there_is(options.split, names, "split")
    left_out = {options.label, options.split, *options.drop}
    features = [name for name in names if name not in left_out]
    if not features:
        raise InvalidArgument(f"no column is left to learn from: there are only {shown(names)}")
    labels: Array
    class_labels: tuple[str, ...]
    if options.task == "regression":
        labels, class_labels = _values(table, options.label), (options.label,)
    else:
        labels, class_labels = encode_classes(texts(table, options.label))
    matrices, feature_names, columns, warnings = [], [], [], []
    for done, name in enumerate(features):
        values, made, said = _encode(table[name], name, options)
        matrices.append(values)
        feature_names += made
        columns.append({"name": name, **said})
        if said.pop("is_inexact", False):
            warnings.append(
                f"column {name!r:.80} has integers beyond 2^24, which single precision cannot all "
                "tell apart; a number that only names something is better dropped"
            )
        _check_size(len(feature_names), table.num_rows)
        tick(done / len(features))
    return Examples(
        task="regression" if options.task == "regression" else "tabular-classification",
        inputs=np.concatenate(matrices, axis=1),
        labels=labels,
        class_labels=class_labels,
        input_name="features",
        units=options.units or "as uploaded; categories are 1 where they apply and 0 elsewhere",
        feature_names=tuple(feature_names),
        parts=part_column(table, options.split) if options.split else None,
        details={"columns": columns},
        warnings=warnings,
    )


def _values(table: Table, name: str) -> Array:
    """The numbers (N, 1) that a regression is to learn.

    Raises:
        InvalidArgument: one is missing, infinite or no number.
    """
    column = table[name]
    kind = column.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)):
        raise InvalidArgument(
            f"column {name!r:.80} holds {kind}; a regression learns numbers", field="options.label"
        )
    values = column.cast(pa.float64(), safe=False).to_numpy()
    with np.errstate(over="ignore"):
        single: Array = values.astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(single))
    if len(bad):
        raise InvalidArgument(
            f"column {name!r:.80} has no finite number in {len(bad)} of {len(values)} rows, the "
            f"first is row {bad[0] + 2}; complete them or leave them out"  # the header is line 1
        )
    return single[:, None]


def texts(table: Table, name: str) -> list[str]:
    """A column's values as text.

    Raises:
        InvalidArgument: one is missing.
    """
    column = _without_nan(table[name])
    if column.null_count:
        row = pc.index(pc.is_null(column), True).as_py() + 2  # the header is line 1
        raise InvalidArgument(
            f"column {name!r:.80} has no value in {column.null_count} of {len(column)} rows, the "
            f"first is row {row}; complete them or leave them out (NA, NaN and null mean no value; "
            "in quotes they are words)"
        )
    kind = column.type
    is_dictionary = pa.types.is_dictionary(kind)
    if pa.types.is_nested(kind) or pa.types.is_binary(kind.value_type if is_dictionary else kind):
        raise InvalidArgument(f"column {name!r:.80} holds {kind}; classes are text or numbers")
    return [_text(value) for value in column.to_pylist()]


def part_column(table: Table, name: str) -> Array:
    """The column that says which part an example belongs to."""
    return said_parts(texts(table, name), name)


def said_parts(said: Sequence[str], name: str) -> Array:
    """The parts (N,) that a column says.

    Raises:
        InvalidArgument: it says something else.
    """
    unknown = sorted({part for part in said if part.strip().lower() not in PART_NAMES})
    if unknown:
        raise InvalidArgument(
            f"column {name!r:.80} says {shown(unknown)}; allowed are train, validation and test",
            field="options.split",
        )
    return np.array([PART_NAMES[part.strip().lower()] for part in said], np.int8)


def _without_nan(column: Any) -> Any:
    """NaN in a Parquet file's numbers is no value, as it is in a CSV file."""
    if not pa.types.is_floating(column.type):
        return column
    return pc.if_else(pc.is_nan(column), None, column)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _encode(
    column: Any, name: str, options: PreparationOptions
) -> tuple[Array, list[str], dict[str, Any]]:
    """Values (N, K) float64, names of the K columns, and what the report says of this one."""
    kind = column.type
    is_number = (
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_boolean(kind)
        or pa.types.is_decimal(kind)
    )
    is_text = (
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or (pa.types.is_dictionary(kind) and not pa.types.is_nested(kind.value_type))
    )
    if pa.types.is_null(kind):
        raise InvalidArgument(f"column {name!r:.80} has no values at all; leave it out (drop)")
    if is_text or (is_number and name in options.categorical):
        return _one_hot(column, name, options)
    if not is_number:
        raise InvalidArgument(
            f"column {name!r:.80} holds {kind}, which is neither numbers nor text; convert it or "
            "leave it out (drop)"
        )
    values = column.cast(pa.float64(), safe=False).to_numpy()
    said: dict[str, Any] = {"kind": "boolean" if pa.types.is_boolean(kind) else "number"}
    if pa.types.is_integer(kind) and np.nanmax(np.abs(values), initial=0) > _EXACT_UP_TO:
        said["is_inexact"] = True
    return values[:, None], [name], said


def _one_hot(
    column: Any, name: str, options: PreparationOptions
) -> tuple[Array, list[str], dict[str, Any]]:
    """A column of 0 and 1 for each category; a missing value is all NaN, or a category itself."""
    if not pa.types.is_dictionary(column.type):
        column = _without_nan(column).dictionary_encode()
    column = column.unify_dictionaries().combine_chunks()
    if isinstance(column, pa.ChunkedArray):
        column = column.chunk(0) if column.num_chunks else pa.array([], column.type)
    codes = column.indices.to_numpy(zero_copy_only=False)
    is_missing = column.is_null().to_numpy(zero_copy_only=False)
    codes = np.where(is_missing, 0, codes).astype(np.int64)
    values = [_text(value) for value in column.dictionary.to_pylist()]
    used = set(np.unique(codes[~is_missing]).tolist())
    categories = sorted({values[code] for code in used})
    if len(categories) > options.max_categories:
        raise InvalidArgument(
            f"column {name!r:.80} has {len(categories)} different values, at most "
            f"{options.max_categories} become columns of their own; leave it out (drop) or raise "
            "max_categories"
        )
    longest = max(categories, key=len, default="")
    if len(longest) > MAX_NAME_CHARACTERS:
        raise InvalidArgument(
            f"column {name!r:.80} has a value of {len(longest)} characters, and a category has at "
            f"most {MAX_NAME_CHARACTERS}; leave it out (drop)"
        )
    places = {category: place for place, category in enumerate(categories)}
    place_of = np.array([places.get(value, 0) for value in values] or [0], np.int64)
    width = len(categories)
    encoded = np.zeros((len(codes), width + bool(is_missing.any())), np.float64)
    present = np.flatnonzero(~is_missing)
    encoded[present, place_of[codes[present]]] = 1
    names = [f"{name}={category}" for category in categories]
    if is_missing.any():
        if options.missing == "impute":
            encoded[is_missing, width] = 1
            names.append(f"{name}={MISSING}")
        else:
            encoded = encoded[:, :width]
            encoded[is_missing] = np.nan
    counts = np.bincount(place_of[codes[present]], minlength=width)
    return (
        encoded,
        names,
        {
            "kind": "category",
            "missing": int(is_missing.sum()),
            "categories": dict(zip(categories, counts.tolist(), strict=True)),
            "is_constant": width + bool(is_missing.any()) <= 1,
        },
    )


def _check_size(columns: int, rows: int) -> None:
    if columns > MAX_COLUMNS:
        raise InvalidArgument(
            f"the categories make more than {MAX_COLUMNS} columns; leave columns out (drop) or "
            "lower max_categories"
        )
    size = columns * rows * 4
    if size > MAX_PREPARED_BYTES:
        raise InvalidArgument(
            f"{rows} examples of {columns} numbers take {size} bytes; at most "
            f"{MAX_PREPARED_BYTES} are allowed"
        )
