"""Kernel SHAP as requests call it: who plays, against which background.

Of texts each token plays. In place of one that is absent stands the vocabulary's unknown token,
which every kind of network counts and which says nothing. What pads a text does not play.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from services.explanation.arrays import Array, is_channels_last
from services.explanation.attributions.game import Game
from services.explanation.attributions.kernel_shap import coalition_budget, kernel_shap
from services.explanation.attributions.players import Players
from services.explanation.background import Background, choose_background
from services.explanation.explain import MAX_EVALUATIONS, ExplainQuery, Explanation, joined
from services.explanation.heads import Head
from services.explanation.subject import Subject
from wintergarden.errors import InvalidArgument
from wintergarden.text import PADDING, UNKNOWN

SMALL_IMAGE = 100
GRID = 7


def by_kernel_shap(
    subject: Subject, query: ExplainQuery, head: Head, outputs: Array, targets: Array
) -> Explanation:
    """Values of players, with their errors."""
    if query.seed < 0:
        raise InvalidArgument(f"seed={query.seed}: 0 or above", "seed")
    if _are_texts(subject, query):
        return _by_token(subject, query, head, targets)
    players = _players(query.players, query.rows.shape[1:])
    background = choose_background(
        subject, query.background, query.background_summary, query.rows.shape[1:]
    )
    coalitions = coalition_budget(players.count, len(background.rows), query.max_evaluations)
    subject.expect(_bound(len(query.rows), coalitions, len(background.rows)))
    return _answer(subject, query, head, targets, (players, background))


def _are_texts(subject: Subject, query: ExplainQuery) -> bool:
    """Token ids [N, T] of a vocabulary, each to play, and no background to play against."""
    has_wishes = query.background is not None or not isinstance(query.players, str)
    is_named = subject.manifest.vocabulary is not None
    return is_named and subject.is_of_tokens and query.rows.ndim == 2 and not has_wishes


def _by_token(subject: Subject, query: ExplainQuery, head: Head, targets: Array) -> Explanation:
    """Row by row, since each text has its own tokens; zeros stand where a text has ended."""
    lengths = [max(1, int((row != PADDING).sum())) for row in query.rows]
    budgets = [coalition_budget(length, 1, query.max_evaluations) for length in lengths]
    subject.expect(_bound(1, sum(budgets), 1))
    parts = []
    for index, row in enumerate(query.rows):
        there = row != PADDING
        # What pads a text is the same in the row and its background, whomever it belongs to.
        assignment = np.where(there, np.cumsum(there) - 1, 0)
        players = Players(assignment, lengths[index])
        absent = np.where(there, UNKNOWN, PADDING).astype(row.dtype)[None]
        found = _answer(
            subject,
            replace(query, rows=row[None]),
            head,
            targets[index : index + 1],
            (players, Background(absent, "the unknown token in place of each token")),
        )
        parts.append(_spread(found, there))
    return joined(parts, np.arange(len(parts)))


def _spread(found: Explanation, there: Array) -> Explanation:
    """With a value for each position [1, T]."""

    def placed(values: Array) -> Array:
        full = np.zeros((1, len(there)))
        full[:, there] = values[:, : int(there.sum())]
        return full

    values = placed(found.player_values)
    return replace(
        found,
        attributions=values,
        player_values=values,
        standard_errors=placed(found.standard_errors),
        assignment=None,
    )


def _bound(rows: int, coalitions: int, background: int) -> int:
    """How many evaluations it takes, if so many are allowed."""
    total = coalitions * background * rows
    if total > MAX_EVALUATIONS:
        raise InvalidArgument(
            f"{rows} rows × {coalitions} coalitions × {background} background rows are {total} "
            f"evaluations; {MAX_EVALUATIONS} are allowed in one request",
            "max_evaluations",
        )
    return total


def _answer(
    subject: Subject,
    query: ExplainQuery,
    head: Head,
    targets: Array,
    against: tuple[Players, Background],
) -> Explanation:
    players, background = against
    game = Game(lambda rows: subject.outputs(rows, head), players, background.rows)
    answer = kernel_shap(
        game,
        query.rows,
        targets=targets,
        max_evaluations=query.max_evaluations,
        seed=query.seed,
    )
    values = answer.values[..., 0]
    return Explanation(
        manifest=subject.manifest,
        method="kernel_shap",
        head=head,
        rows=query.rows,
        targets=targets,
        outputs=answer.outputs[:, 0],
        attributions=players.to_elements(values),
        player_values=values,
        standard_errors=answer.standard_errors[..., 0],
        base_values=answer.base_values[:, 0],
        efficiency_gaps=answer.efficiency_gaps[:, 0],
        evaluations=answer.evaluations + len(query.rows),
        seed=query.seed,
        is_exact=answer.is_exact,
        background=background.description,
        assignment=players.assignment,
    )


def _players(choice: str | tuple[int, int] | Array, shape: tuple[int, ...]) -> Players:
    if isinstance(choice, np.ndarray):
        return Players.mask(choice, shape)
    if isinstance(choice, tuple):
        return Players.grid(shape, *choice)
    if choice == "features" or len(shape) not in (2, 3):
        return Players.features(shape)
    height, width = shape[:2] if is_channels_last(shape) else shape[-2:]
    if height * width <= SMALL_IMAGE:
        return Players.grid(shape, height, width)
    return Players.grid(shape, min(GRID, height), min(GRID, width))
