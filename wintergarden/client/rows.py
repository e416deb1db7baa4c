"""Rows as people write them, as a model takes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from wintergarden.client.answers import Array
from wintergarden.client.call import Flow
from wintergarden.client.models import describe
from wintergarden.client.texts import encoded, is_text
from wintergarden.errors import Unsupported
from wintergarden.wire.tensors import dtype_of


def array_of(value: npt.ArrayLike) -> Array:
    """What numpy makes of it, but for bytes and texts: its own types of these lose NULs at the end.

    Raises:
        ValueError: rows of different lengths.
    """
    array = np.asarray(value)
    if array.dtype.kind in "SU" and not isinstance(value, np.ndarray):
        return np.asarray(value, object)
    return array


def fitted(array: Array, datatype: str, name: str = "") -> Array:
    """An array in a model's datatype, or as it is where it would become something else.

    Whole numbers become fractions, and doubles singles. Fractions become no whole numbers, and
    nothing is put where there is no room for it.

    Raises:
        InvalidTensor: a datatype that is not known here; `name` is the input's.
    """
    wanted = dtype_of(datatype, name)
    if array.dtype.kind in "iu" and wanted.kind in "iu":
        limits = np.iinfo(wanted)
        can_be = not array.size or (limits.min <= array.min() and array.max() <= limits.max)
    else:
        can_be = np.can_cast(array.dtype, wanted, casting="same_kind")
    return array.astype(wanted, copy=False) if can_be else array


def rows_for(model: str, value: Any, *, version: int = 0, name: str = "") -> Flow[Array | None]:
    """Texts as the model's token ids, and else as `numbers_for`."""
    if is_text(value):
        return (yield from encoded(model, value, version=version))
    return (yield from numbers_for(model, value, version=version, name=name))


def numbers_for(model: str, value: Any, *, version: int = 0, name: str = "") -> Flow[Array | None]:
    """Python's numbers and numpy's doubles in the datatype of a model's input.

    Other arrays are as somebody has chosen, and go as they are.

    Args:
        model: its name.
        value: an array, or what numpy makes one of; None stays None.
        version: 0 is the latest.
        name: of the input; default: the first.
    """
    if value is None or (isinstance(value, np.ndarray) and value.dtype != np.float64):
        return value
    array = array_of(value)
    try:
        described = yield from describe(model, version=version)
    except Unsupported:  # an explanation service by itself has no manifests; most take singles
        return fitted(array, "FP32") if array.dtype == np.float64 else array
    inputs = described.manifest["inputs"]
    wanted = next((tensor for tensor in inputs if tensor["name"] == name), inputs[0])
    return fitted(array, wanted["datatype"], wanted["name"])


def context_for(
    model: str, context: Mapping[str, npt.ArrayLike] | None, *, version: int = 0
) -> Flow[dict[str, Any]]:
    """As `numbers_for`, for several inputs by name."""
    found: dict[str, Any] = {}
    for name, value in (context or {}).items():
        found[name] = yield from numbers_for(model, value, version=version, name=name)
    return found
