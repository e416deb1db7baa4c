"""Which numbers pictures show."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from services.explanation import pictures
from services.explanation.arrays import Array
from services.explanation.attributions.players import Players
from services.explanation.explain import ExplainQuery, Explanation, explain
from services.explanation.methods import attribution
from services.explanation.pictures import explanation_pictures
from services.explanation.subject import Subjects
from services.explanation.testing import FEATURES, publish_linear
from wintergarden.errors import InvalidArgument
from wintergarden.runtime import RuntimeOptions
from wintergarden.store import open_store

SHAPE = (3, 8, 8)
CHANNELS = np.repeat(np.arange(3), 64).reshape(SHAPE)


@pytest.fixture
def answer(tmp_path: Path) -> Explanation:
    """Of a table."""
    publish_linear(str(tmp_path))
    subjects = Subjects(open_store(str(tmp_path)), RuntimeOptions(device="cpu"), 1 << 28)
    subject = subjects.open("table", 1, lambda rows: None)
    query = ExplainQuery(rows=np.ones((2, FEATURES), "f"), max_evaluations=4_000)
    return explain(attribution("kernel_shap").run, subject, query)


@pytest.mark.parametrize("is_equal", [False, True])
@pytest.mark.parametrize(
    ("players", "counted"),
    [
        (Players.features(SHAPE), lambda drawn: drawn.sum(axis=0)),
        (Players.grid(SHAPE, 2, 2), lambda drawn: drawn[0]),
        (Players.mask(CHANNELS, SHAPE), lambda drawn: drawn.sum(axis=0)),
        (Players.mask(CHANNELS // 2, SHAPE), lambda drawn: drawn[0] + drawn[2]),
    ],
)
def test_a_player_counts_once_at_each_pixel(
    answer: Explanation,
    monkeypatch: pytest.MonkeyPatch,
    players: Players,
    counted: Callable[[Array], Array],
    is_equal: bool,
) -> None:
    """Also where other players happen to have the same value."""
    values = np.random.default_rng(0).normal(size=(1, players.count))
    if is_equal:
        values[:] = 0.5
    drawn: list[Array] = []

    def draw(image: Array, attribution: Array, *_: object) -> bytes:
        drawn.append(attribution)
        return b""

    monkeypatch.setattr(pictures, "heat_map", draw)
    attributions = players.to_elements(values)
    explanation_pictures(
        replace(
            answer,
            rows=np.zeros((1, *SHAPE), "f"),
            attributions=attributions,
            player_values=values,
            standard_errors=np.zeros_like(values),
            assignment=players.assignment,
        )
    )
    np.testing.assert_allclose(drawn[0], counted(attributions[0]))


@pytest.mark.parametrize("name", ["outputs", "player_values", "standard_errors"])
@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_what_is_not_finite_is_not_drawn(answer: Explanation, name: str, number: float) -> None:
    numbers = getattr(answer, name).astype(np.float64)
    numbers[1] = number
    said = (
        f"{name.replace('_', ' ')} of row 1 hold {number} for output 'logits' of model 'table' "
        "version 1"
    )
    with pytest.raises(InvalidArgument, match=said):
        explanation_pictures(replace(answer, **{name: numbers}))
