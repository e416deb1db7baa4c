"""Reads what a request sent: rows of the input, classes, the background. Says what is allowed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from services.explanation.arrays import Array
from services.explanation.subject import Subject
from wintergarden.errors import InvalidArgument, InvalidTensor, Unsupported
from wintergarden.wire.tensors import datatype_of

MAX_ROWS = 1000


def check_context(
    subject: Subject, name: str, context: Mapping[str, Array], rows: int
) -> dict[str, Array]:
    """What goes with the rows of one input of several: each of the others, [N, …].

    Raises:
        InvalidTensor: an input that the model does not have, or not as it takes it.
        Unsupported: one is missing.
    """
    others = {tensor.name: tensor for tensor in subject.manifest.inputs if tensor.name != name}
    names = ", ".join(tensor.name for tensor in subject.manifest.inputs)
    if unknown := sorted(set(context) - set(others)):
        raise InvalidTensor(
            f"context '{unknown[0]}': {subject.label} has the inputs {names}, and '{name}' is "
            "explained",
            "context",
        )
    if missing := [tensor for tensor in others if tensor not in context]:
        raise Unsupported(
            f"{subject.label} has the inputs {names}; explained is '{name}', so send "
            f"{', '.join(missing)} as the context"
        )
    for tensor in others.values():
        given, wanted = context[tensor.name], f"{tensor.datatype} {list(tensor.shape)}"
        got = datatype_of(given.dtype)
        if got != tensor.datatype or not _fits(given.shape, tensor.shape) or len(given) != rows:
            raise InvalidTensor(
                f"context '{tensor.name}' must be {wanted} with {rows} rows, got {got} "
                f"{list(given.shape)}",
                "context",
            )
    return dict(context)


def check_rows(subject: Subject, rows: Array, name: str = "", field: str = "input") -> Array:
    """Rows [N, …] as the model takes them.

    Raises:
        InvalidTensor: another name, datatype or shape, no rows or too many, rows of nothing, NaN or
            infinity.
    """
    expected = subject.input
    wanted = f"{expected.datatype} {list(expected.shape)}"
    if name and name != expected.name:
        raise InvalidTensor(f"{subject.label} has the input '{expected.name}', got '{name}'", field)
    got = datatype_of(rows.dtype)
    if got != expected.datatype or not _fits(rows.shape, expected.shape):
        raise InvalidTensor(
            f"{field} '{expected.name}' must be {wanted}, got {got} {list(rows.shape)}", field
        )
    if got == "BYTES":
        raise InvalidTensor(f"{field} '{expected.name}' is BYTES; explained are numbers", field)
    if not 1 <= len(rows) <= MAX_ROWS:
        raise InvalidTensor(f"{field} has {len(rows)} rows; 1 to {MAX_ROWS} are allowed", field)
    if not rows.size:
        raise InvalidTensor(
            f"{field} '{expected.name}' has rows {list(rows.shape[1:])}: there is nothing in them",
            field,
        )
    if rows.dtype.kind == "f" and not np.isfinite(rows).all():
        raise InvalidTensor(f"{field} '{expected.name}' holds NaN or infinity", field)
    return rows


def check_classes(classes: Sequence[int], rows: int, count: int, field: str) -> Array | None:
    """One class for each row, from one for each or one for all; None if there are none.

    Raises:
        InvalidArgument: another number of them, or one that the output does not have.
    """
    if not classes:
        return None
    if len(classes) not in (1, rows):
        raise InvalidArgument(
            f"{len(classes)} {field} for {rows} rows; give one for each, or one for all", field
        )
    for index in classes:
        if not 0 <= index < count:
            raise InvalidArgument(f"{field}: {index} is not among 0 to {count - 1}", field)
    return np.broadcast_to(np.asarray(classes, np.int64), rows).copy()


def _fits(shape: Sequence[int], pattern: Sequence[int]) -> bool:
    return len(shape) == len(pattern) and all(
        want in (-1, got) for got, want in zip(shape, pattern, strict=True)
    )
