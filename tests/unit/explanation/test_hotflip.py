"""Flips of tokens and of groups of columns, held to every flip there is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.explanation.attacks.choices import OneOf, Tokens, check_groups
from services.explanation.attacks.hotflip import hotflip
from services.explanation.attacks.victim import Victim, margins
from wintergarden.errors import InvalidTensor

IDS, WIDTH, LENGTH, PADDING = 9, 4, 6, 0
seeds = st.integers(0, 2**32 - 1)


class Bag:
    """Two classes by the sum of what the tokens look up: to the first order is exact here."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.table = rng.standard_normal((IDS, WIDTH))
        self.weights = rng.standard_normal((WIDTH, 2))
        self.allowed = np.arange(IDS) != PADDING

    def logits(self, rows: np.ndarray) -> np.ndarray:
        return self.table[rows].sum(axis=1) @ self.weights

    def slope(self, rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return np.repeat((weights @ self.weights.T)[:, None], rows.shape[1], axis=1)

    def victim(self, rows: np.ndarray, targets: np.ndarray | None = None) -> Victim:
        classes = self.logits(rows).argmax(axis=1) if targets is None else targets
        return Victim(self.logits, self.slope, classes, is_targeted=targets is not None)


def texts(rng: np.random.Generator, count: int = 5) -> np.ndarray:
    rows = rng.integers(1, IDS, (count, LENGTH))
    rows[:, -1] = PADDING
    return rows


@given(seeds)
@settings(max_examples=50)
def test_a_flip_is_the_best_of_all(seed: int) -> None:
    rng = np.random.default_rng(seed)
    bag = Bag(rng)
    rows = texts(rng)
    moved = hotflip(bag.victim(rows), rows, Tokens(bag.table, bag.allowed), flips=1, candidates=1)
    classes = bag.logits(rows).argmax(axis=1)
    for row, there, label in zip(rows, moved, classes, strict=True):
        every = np.repeat(row[None], (LENGTH - 1) * IDS, axis=0)
        places, ids = np.divmod(np.arange(len(every)), IDS)
        every[np.arange(len(every)), places] = ids
        every = every[ids != PADDING]
        best = margins(bag.logits(every), np.full(len(every), label)).max()
        assert margins(bag.logits(there[None]), label[None])[0] == pytest.approx(best)


@given(seeds, st.integers(0, LENGTH + 2), st.booleans())
@settings(max_examples=50)
def test_what_it_may_not_touch_stays(seed: int, flips: int, is_targeted: bool) -> None:
    rng = np.random.default_rng(seed)
    bag = Bag(rng)
    rows = texts(rng)
    before, changeable = rows.copy(), rng.random(LENGTH) < 0.6
    choices = Tokens(bag.table, bag.allowed, changeable)
    targets = 1 - bag.logits(rows).argmax(axis=1) if is_targeted else None
    victim = bag.victim(rows, targets)
    moved = hotflip(victim, rows, choices, flips=flips, candidates=3)
    np.testing.assert_array_equal(rows, before)
    assert (choices.changed(rows, moved) <= flips).all()
    assert not (moved != rows)[:, ~changeable].any()
    np.testing.assert_array_equal(moved == PADDING, rows == PADDING)
    assert (victim.heights(bag.logits(moved), victim.all) >= victim.heights(
        bag.logits(rows), victim.all
    ) - 1e-9).all()  # fmt: skip
    # No more flips than it takes: with one less, a row that was fooled at the last one holds.
    for row in np.flatnonzero(choices.changed(rows, moved) >= 1):
        used = int(choices.changed(rows, moved)[row])
        one = slice(row, row + 1)
        alone = bag.victim(rows[one], None if targets is None else targets[one])
        less = hotflip(alone, rows[one], choices, flips=used - 1, candidates=3)
        assert not alone.is_fooled(bag.logits(less), alone.all).any()


class Line:
    """Two classes of a table by a line."""

    def __init__(self, rng: np.random.Generator, width: int) -> None:
        self.weights = rng.standard_normal((width, 2))

    def victim(self, rows: np.ndarray) -> Victim:
        classes = (rows @ self.weights).argmax(axis=1)
        return Victim(
            lambda x: x @ self.weights,
            lambda x, w: np.broadcast_to((w @ self.weights.T), x.shape),
            classes,
            is_targeted=False,
        )


@given(seeds)
@settings(max_examples=50)
def test_groups_move_their_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    groups = ((1, 2, 3), (5, 4))
    rows = rng.random((6, 7))
    for group in groups:
        rows[:, group] = np.eye(len(group))[rng.integers(0, len(group), len(rows))]
    check_groups(groups, rows)
    line, choices = Line(rng, 7), OneOf(groups)
    moved = hotflip(line.victim(rows), rows, choices, flips=2, candidates=1)
    check_groups(groups, moved)
    others = [column for column in range(7) if column not in {c for g in groups for c in g}]
    np.testing.assert_array_equal(moved[:, others], rows[:, others])
    first = hotflip(line.victim(rows), rows, choices, flips=1, candidates=1)
    for row, there in zip(rows, first, strict=True):
        label = (row @ line.weights).argmax()
        every = [row]
        for place, group in enumerate(groups):
            every += [choices.flipped(row, place, to) for to in range(len(group))]
        best = max(margins((e @ line.weights)[None], label[None])[0] for e in every[1:])
        own = margins((row @ line.weights)[None], label[None])[0]
        reached = margins((there @ line.weights)[None], label[None])[0]
        # The row itself is among `every` of each group: no flip is worse than the best real one.
        assert reached == pytest.approx(best) or best == pytest.approx(own)


def test_where_every_group_is_locked_nothing_changed() -> None:
    rows = np.eye(3)
    assert OneOf(()).changed(rows, rows).tolist() == [0, 0, 0]


def test_an_id_beyond_the_table_stays() -> None:
    """The model clips it into the table itself."""
    bag = Bag(np.random.default_rng(0))
    rows = texts(np.random.default_rng(1))
    rows[:, 0], rows[:, 1] = IDS + 3, -2
    victim = Victim(
        lambda x: bag.logits(x.clip(0, IDS - 1)),
        bag.slope,
        bag.logits(rows.clip(0, IDS - 1)).argmax(axis=1),
        is_targeted=False,
    )
    moved = hotflip(victim, rows, Tokens(bag.table, bag.allowed), flips=LENGTH)
    np.testing.assert_array_equal(moved[:, :2], rows[:, :2])
    assert (moved[:, 2:] != rows[:, 2:]).any()


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        ([(0,)], "two columns or more"),
        ([(0, 1), (1, 2)], "a column is in one group"),
        ([(0, 9)], "the columns 0 to 3"),
        ([(0, 2)], "one of these columns must be 1"),
        ([(0, 3)], "one of these columns must be 1"),
    ],
)
def test_groups_that_are_none_are_refused(groups: list[tuple[int, ...]], said: str) -> None:
    rows = np.array([[1.0, 0, 1, 0.5], [0, 1, 0, 1]])
    with pytest.raises(InvalidTensor, match=said):
        check_groups(groups, rows)


def test_groups_are_of_tables() -> None:
    with pytest.raises(InvalidTensor, match="columns of a table"):
        check_groups([(0, 1)], np.zeros((1, 2, 2)))
