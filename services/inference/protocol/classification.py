"""Triton's classification extension: an output as the names of its largest elements.

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_classification.md
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from services.inference.scheduling.scheduler import Array
from wintergarden.errors import InvalidArgument
from wintergarden.wire.tensors import datatype_of

_MAX_ELEMENTS = 1_000_000  # of a row, as in Triton: they are sorted while a caller waits


def classify(scores: Array, count: int, labels: Sequence[str], *, has_rows: bool) -> Array:
    """The largest elements, largest first; of equal ones the first.

    Args:
        scores: of any shape; the index of an element is its place in row-major order.
        count: elements to name, at most.
        labels: of the elements by index; there may be fewer than elements, or none.
        has_rows: axis 0 counts rows, which are classified one by one.

    Returns:
        BYTES `value:index` or `value:index:label`, shape [rows, count] or [count]. The value is
        printed like C's `%f` and `%d`, as Triton does.

    Raises:
        InvalidArgument: the elements cannot be ordered, or there are too many.
    """
    if scores.dtype.kind not in "iufV":  # V: bfloat16
        raise InvalidArgument(
            f"classification: an output of {datatype_of(scores.dtype)} has no largest elements; "
            "ask for numbers, or for the output as it is"
        )
    has_rows = has_rows and scores.ndim > 0
    rows, width = (scores.shape[0] if has_rows else 1), math.prod(scores.shape[int(has_rows) :])
    if width > _MAX_ELEMENTS:
        raise InvalidArgument(
            f"classification: {width} elements in a row, at most {_MAX_ELEMENTS} are "
            "allowed; ask for the output as it is"
        )
    table = scores.reshape(rows, width)
    if table.dtype.kind in "fV":
        table = table.astype(np.float64)
        keys = np.where(np.isnan(table), -np.inf, table)
    else:
        keys = table
    count = min(count, width)
    # Ascending and stable on the reversed row, read backwards: descending, the first of equals.
    order = width - 1 - np.argsort(keys[:, ::-1], axis=1, kind="stable")[:, ::-1][:, :count]
    form = "%f:%d" if table.dtype.kind == "f" else "%d:%d"
    named = np.empty((rows, count), object)
    for row in range(rows):
        for rank, index in enumerate(order[row].tolist()):
            text = form % (table[row, index], index)
            named[row, rank] = f"{text}:{labels[index]}" if index < len(labels) else text
    return named if has_rows else named[0]
