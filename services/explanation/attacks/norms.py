"""Lengths of the rows of a batch, in double precision."""

from __future__ import annotations

import math

import numpy as np

from services.explanation.arrays import Array


def lengths(rows: Array, norm: str) -> Array:
    """‖row‖ for each of [N, …], float64 [N]; norm is "linf", "l2", "l1" or "l0"."""
    flat = np.abs(rows.astype(np.float64)).reshape(len(rows), math.prod(rows.shape[1:]))
    if norm == "linf":
        largest: Array = flat.max(axis=1, initial=0)
        return largest
    if norm == "l0":
        count: Array = np.count_nonzero(flat, axis=1).astype(np.float64)
        return count
    if norm == "l1":
        total: Array = flat.sum(axis=1)
        return total
    length: Array = np.sqrt((flat**2).sum(axis=1))
    return length


def distances(x: Array, other: Array, norm: str) -> Array:
    """‖other − x‖ row by row; exact for "linf"."""
    return lengths(other.astype(np.float64) - x.astype(np.float64), norm)


def rowwise(numbers: Array, rows: Array) -> Array:
    """One number for each row, [N] to [N, 1, …], to be broadcast over rows [N, …]."""
    shaped: Array = numbers.reshape(len(rows), *[1] * (rows.ndim - 1))
    return shaped
