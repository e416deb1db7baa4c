"""Values that are not there: refused, or made up from the training part alone."""

from __future__ import annotations

import numpy as np

from trainer.data.dataset import Array
from trainer.preparation.examples import TRAIN, Examples
from wintergarden.errors import InvalidArgument
from wintergarden.store.preparation import PreparationOptions

_LARGEST = float(np.finfo(np.float32).max)


def count_missing(examples: Examples) -> dict[str, int]:
    """Missing values by column, of the columns that have any."""
    if not examples.feature_names:
        return {}
    places = {name: place for place, name in enumerate(examples.feature_names)}
    counts = {}
    for column in examples.details.get("columns", ()):
        name = column["name"]
        missing = column.get("missing")
        if missing is None:
            missing = int(np.isnan(examples.inputs[:, places[name]]).sum())
        if missing:
            counts[name] = missing
    return counts


def check_missing(examples: Examples, counts: dict[str, int], options: PreparationOptions) -> None:
    """Refuses missing values where that was wished, and infinite ones always.

    Raises:
        InvalidArgument: naming the columns.
    """
    if counts and options.missing == "refuse":
        told = ", ".join(f"{name:.40} in {count}" for name, count in list(counts.items())[:10])
        more = f" and {len(counts) - 10} more columns" if len(counts) > 10 else ""
        raise InvalidArgument(
            f"values are missing (empty or NaN) in {told}{more} of {len(examples)} examples; "
            "complete them, drop the column, or have them filled in with missing=impute",
            field="options.missing",
        )
    if not examples.feature_names:
        return
    with np.errstate(invalid="ignore"):
        is_bad = (np.abs(examples.inputs) > _LARGEST).any(axis=0)
    if is_bad.any():
        names = [examples.feature_names[place] for place in np.flatnonzero(is_bad)[:10]]
        raise InvalidArgument(
            "values are infinite, or beyond what single precision holds (3.4e38), in "
            + ", ".join(f"{name:.40}" for name in names)
        )


def complete(examples: Examples, parts: Array) -> Array:
    """The inputs with nothing missing: float32 tables, and everything else as it is.

    A missing number becomes the median of the training part, so that nothing of the test leaks.

    Raises:
        InvalidArgument: a column that has no value in the training part.
    """
    if not examples.feature_names:
        return examples.inputs
    is_missing = np.isnan(examples.inputs)
    inputs = examples.inputs.copy() if is_missing.any() else examples.inputs
    for place in np.flatnonzero(is_missing.any(axis=0)):
        known = inputs[(parts == TRAIN) & ~is_missing[:, place], place]
        if not len(known):
            raise InvalidArgument(
                f"column {examples.feature_names[place]!r:.80} has no value in the training part; "
                "leave it out (drop)"
            )
        inputs[is_missing[:, place], place] = np.median(known)
    return inputs.astype(np.float32)
