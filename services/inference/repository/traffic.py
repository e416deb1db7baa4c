"""Shares requests out among the versions of a model."""

from __future__ import annotations

import random
import zlib
from collections.abc import Hashable, Sequence
from itertools import accumulate
from typing import Generic, TypeVar

T = TypeVar("T")


class Split(Generic[T]):
    """Takers that share the requests, each as much as its share says."""

    def __init__(self, takers: Sequence[T], shares: Sequence[float]) -> None:
        """Shares are relative to one another; they need not sum to 1."""
        self._takers = takers
        self._limits = list(accumulate(shares))

    def choose(self, sequence: Hashable | None = None) -> T:
        """At random; but all requests of one sequence alike, in every process of the server."""
        if sequence is None:
            point = random.random()
        else:
            point = zlib.crc32(repr(sequence).encode()) / 2**32
        point *= self._limits[-1]
        for taker, limit in zip(self._takers, self._limits, strict=True):
            if point < limit:
                return taker
        return self._takers[-1]
