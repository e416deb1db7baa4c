"""What of a row is one of several: the tokens of a text, the groups of columns of a table.

Ebrahimi, Rao, Lowd, Dou, "HotFlip: white-box adversarial examples for text classification", ACL
2018, §3.1: to flip is to move from one one-hot vector to another, and what that changes is, to the
first order, the difference of two slopes. https://arxiv.org/abs/1712.06751
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from services.explanation.arrays import Array
from wintergarden.errors import InvalidTensor


class Choices(Protocol):
    """The places of a row and what else may stand at each; place p is the p-th in order."""

    def places(self, row: Array) -> int:
        """How many there are."""

    def best(self, row: Array, slope: Array, taken: Array, count: int) -> list[tuple[int, int]]:
        """The flips that climb most to the first order, the best first.

        Args:
            row: Of the input.
            slope: Of what is climbed, at the row; of tokens by what they look up.
            taken: bool [P]: places that are not to be flipped.
            count: At most so many.

        Returns:
            Places, and what comes to stand there; none where nothing may be flipped.
        """

    def flipped(self, row: Array, place: int, to: int) -> Array:
        """A copy of the row."""

    def changed(self, rows: Array, moved: Array) -> Array:
        """int64 [N]: places at which rows differ."""


@dataclass(frozen=True, eq=False)
class Tokens:
    """Token ids [T]; any that is allowed may stand where one of them stands.

    An id beyond the table, which only the model knows how to bring back into it, stays.

    Attributes:
        table: float [V, D], what tokens look up.
        allowed: bool [V]: neither padding nor marks, for these are no text.
        changeable: bool [T]; None: every place.
    """

    table: Array
    allowed: Array
    changeable: Array | None = None

    def places(self, row: Array) -> int:
        return int(row.size)

    def best(self, row: Array, slope: Array, taken: Array, count: int) -> list[tuple[int, int]]:
        ids, table = row.ravel(), self.table.astype(np.float64)
        is_beyond = (ids < 0) | (ids >= len(table))
        ids = np.where(is_beyond, 0, ids)
        slopes = slope.astype(np.float64).reshape(len(ids), -1)
        gains = slopes @ table.T  # [T, V]
        gains -= np.take_along_axis(gains, ids[:, None], axis=1)
        closed = taken | is_beyond | ~self.allowed[ids]
        if self.changeable is not None:
            closed = closed | ~self.changeable.ravel()
        gains[closed] = -np.inf
        gains[:, ~self.allowed] = -np.inf
        gains[np.arange(len(ids)), ids] = -np.inf
        return _highest(gains, count)

    def flipped(self, row: Array, place: int, to: int) -> Array:
        copy = row.copy()
        copy.reshape(-1)[place] = to
        return copy

    def changed(self, rows: Array, moved: Array) -> Array:
        differ: Array = (rows != moved).reshape(len(rows), -1).sum(axis=1)
        return differ


@dataclass(frozen=True, eq=False)
class OneOf:
    """Groups of columns of a table [F], of which one is 1 and the others are 0."""

    groups: tuple[tuple[int, ...], ...]

    def places(self, row: Array) -> int:
        return len(self.groups)

    def best(self, row: Array, slope: Array, taken: Array, count: int) -> list[tuple[int, int]]:
        gains = np.full(
            (len(self.groups), max((len(group) for group in self.groups), default=0)), -np.inf
        )
        for place, group in enumerate(self.groups):
            if not taken[place]:
                columns = list(group)
                now = int(row[columns].argmax())
                gains[place, : len(group)] = slope[columns] - slope[columns[now]]
                gains[place, now] = -np.inf
        return _highest(gains, count)

    def flipped(self, row: Array, place: int, to: int) -> Array:
        copy, group = row.copy(), list(self.groups[place])
        copy[group] = 0
        copy[group[to]] = 1
        return copy

    def changed(self, rows: Array, moved: Array) -> Array:
        differ = np.zeros(len(rows), np.int64)
        for group in map(list, self.groups):
            differ += (rows[:, group] != moved[:, group]).any(axis=1)
        return differ


def check_groups(groups: Sequence[Sequence[int]], rows: Array) -> None:
    """Refuse groups of columns that are none, and rows that are not one of each.

    Raises:
        InvalidTensor: naming the group, what was got and what is allowed.
    """
    if groups and rows.ndim != 2:
        raise InvalidTensor(
            f"one_of names columns of a table [N, F]; the input is {list(rows.shape)}", "one_of"
        )
    seen: set[int] = set()
    for group in groups:
        _check_group(group, rows.shape[1], seen)
        seen.update(group)
        values = rows[:, list(group)]
        if not (((values == 0) | (values == 1)).all() and (values.sum(axis=1) == 1).all()):
            raise InvalidTensor(
                f"one_of {list(group)}: in each row one of these columns must be 1 and the "
                "others 0",
                "one_of",
            )


def _check_group(group: Sequence[int], width: int, seen: set[int]) -> None:
    if len(set(group)) != len(group) or len(group) < 2 or seen.intersection(group):
        raise InvalidTensor(
            f"one_of {list(group)}: a group has two columns or more, and a column is in one group",
            "one_of",
        )
    if not all(0 <= column < width for column in group):
        raise InvalidTensor(
            f"one_of {list(group)}: the input has the columns 0 to {width - 1}", "one_of"
        )


def _highest(gains: Array, count: int) -> list[tuple[int, int]]:
    """Where the `count` highest numbers of [P, A] are, in their order; none is minus infinity."""
    flat = gains.ravel()
    count = min(count, int(np.isfinite(flat).sum()))
    if not count:
        return []
    found = np.argpartition(-flat, count - 1)[:count]
    ordered = found[np.lexsort((found, -flat[found]))]
    return [divmod(int(index), gains.shape[1]) for index in ordered]
