from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.explanation.arrays import Array, Predict
from services.explanation.attributions import kernel_shap as module
from services.explanation.attributions.coalitions import all_coalitions, plan_coalitions
from services.explanation.attributions.exact import shapley_values
from services.explanation.attributions.game import Game
from services.explanation.attributions.kernel_shap import kernel_shap, regress
from services.explanation.attributions.players import Players
from wintergarden.errors import InvalidArgument


def interactions(players: int, seed: int = 0) -> Predict:
    """Two outputs with effects of one, two and three features and a saturating whole."""
    rng = np.random.default_rng(seed)
    single = rng.normal(size=(players, 2))
    double = rng.normal(size=(players, players, 2)) / players
    triple = rng.normal(size=(players, players, players, 2)) / players**2

    def predict(x: Array) -> Array:
        x = x.reshape(len(x), -1).astype(np.float64)
        y = x @ single + np.einsum("ni,nj,ijk->nk", x, x, double)
        return np.tanh(y + np.einsum("ni,nj,nl,ijlk->nk", x, x, x, triple)) + y

    return predict


def game(predict: Predict, players: int, background_rows: int = 1, **options: int) -> Game:
    rng = np.random.default_rng(1)
    background = rng.normal(size=(background_rows, players)).astype(np.float32)
    return Game(predict, Players.features((players,)), background, **options)


def rows(players: int, count: int = 3) -> Array:
    return np.random.default_rng(2).normal(size=(count, players)).astype(np.float32)


def by_permutations(g: Game, row: Array) -> Array:
    """The other definition: the mean gain over all orders in which players may arrive."""
    players = g.players.count
    values = np.zeros((players, 2))
    for order in itertools.permutations(range(players)):
        arrived = np.zeros((1, players), bool)
        before = g.values(row[None], arrived)[0, 0]
        for player in order:
            arrived[0, player] = True
            after = g.values(row[None], arrived)[0, 0]
            values[player] += after - before
            before = after
    return values / math.factorial(players)


def test_exact_values_are_the_mean_over_all_orders() -> None:
    g = game(interactions(4), 4, background_rows=3)
    answer = kernel_shap(g, rows(4))
    assert answer.is_exact
    assert not answer.standard_errors.any()
    for row, values in zip(rows(4), answer.values, strict=True):
        np.testing.assert_allclose(values, by_permutations(g, row), atol=1e-12)


@pytest.mark.parametrize("players", [2, 3, 4, 7, 12])
def test_the_regression_over_all_coalitions_is_exact(players: int) -> None:
    g = game(interactions(players), players)
    plan = plan_coalitions(players, 2**players, np.random.default_rng(0))
    assert plan.is_complete
    assert len(plan.masks) == 2 ** (players - 1) - 1
    everything = g.values(rows(players), all_coalitions(players))
    differences = g.values(rows(players), plan.masks) - g.values(rows(players), ~plan.masks)
    values, errors = regress(plan, differences, everything[:, -1] - everything[:, 0])
    np.testing.assert_allclose(values, shapley_values(everything), atol=1e-9)
    assert errors.max() < 1e-9


@given(st.integers(2, 40), st.integers(0, 400), st.integers(0, 5))
def test_plans_are_distinct_pairs_that_weigh_one(players: int, extra: int, seed: int) -> None:
    pairs = (players if players > 2 else 1) + extra
    plan = plan_coalitions(players, pairs, np.random.default_rng(seed))
    assert len(plan.masks) == min(pairs, 2 ** (players - 1) - 1)
    both = np.concatenate([plan.masks, ~plan.masks])
    assert len(np.unique(both, axis=0)) == len(both)
    sizes = plan.masks.sum(axis=1)
    assert sizes.min() >= 1
    assert sizes.max() < players
    assert plan.weights.sum() == pytest.approx(1)
    assert (plan.weights > 0).all()
    assert ((plan.drawn > 0) & (plan.drawn <= 1)).all()


def test_a_linear_model_has_its_weights_times_the_distance() -> None:
    """Linear SHAP, at any budget: φ_i = w_i (x_i − mean b_i), without sampling error."""
    weights = np.random.default_rng(3).normal(size=(30, 1))
    g = game(lambda x: x @ weights, 30, background_rows=7)
    x = rows(30)
    answer = kernel_shap(g, x, max_evaluations=7 * 100)
    expected = weights[:, 0] * (x - g.background.mean(axis=0))
    np.testing.assert_allclose(answer.values[..., 0], expected, atol=1e-6)
    assert answer.standard_errors.max() < 1e-6
    assert not answer.is_exact


@given(st.integers(2, 20), st.integers(1, 4), st.integers(0, 3))
def test_values_add_up(players: int, background_rows: int, seed: int) -> None:
    g = game(interactions(players, seed), players, background_rows)
    answer = kernel_shap(g, rows(players), max_evaluations=background_rows * (2 * players + 20))
    assert np.abs(answer.efficiency_gaps).max() < 1e-9
    np.testing.assert_allclose(answer.base_values[0], g.predict(g.background).mean(axis=0))
    np.testing.assert_allclose(answer.outputs, g.predict(rows(players)))


def test_evaluations_are_counted_and_bounded() -> None:
    spent, largest = 0, 0
    model = interactions(20)

    def counting(x: Array) -> Array:
        nonlocal spent, largest
        spent, largest = spent + len(x), max(largest, len(x))
        return model(x)

    g = game(counting, 20, background_rows=5, max_batch_bytes=64 * 20 * 4)
    answer = kernel_shap(g, rows(20), max_evaluations=1000)
    assert answer.evaluations == spent
    assert spent <= 3 * 1000
    assert largest <= 64


def test_targets_choose_an_output_per_row() -> None:
    g = game(interactions(15), 15)
    every = kernel_shap(g, rows(15), seed=4)
    chosen = kernel_shap(g, rows(15), targets=np.array([1, 0, 1]), seed=4)
    for row, target in enumerate([1, 0, 1]):
        np.testing.assert_allclose(chosen.values[row, :, 0], every.values[row, :, target])
    assert chosen.outputs.shape == (3, 1)


def test_the_same_seed_gives_the_same_values_and_another_one_others() -> None:
    g = game(interactions(20), 20)
    first, again, other = (
        kernel_shap(g, rows(20), max_evaluations=300, seed=s).values for s in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0


@pytest.mark.parametrize("evaluations", [64, 128, 512])
def test_standard_errors_are_honest(lenet, served, evaluations: int) -> None:
    """Over many seeds the true error has the size that was stated, and is rarely twice it."""
    background = lenet.background.mean(axis=0, keepdims=True)
    g = Game(served.logits, Players.grid((1, 28, 28), 3, 4), background)
    x, targets = lenet.images[:4], lenet.labels[:4]
    truth = kernel_shap(g, x, targets=targets).values
    answers = [
        kernel_shap(g, x, targets=targets, max_evaluations=evaluations, seed=s) for s in range(25)
    ]
    errors = np.stack([a.values - truth for a in answers])
    stated = np.stack([a.standard_errors for a in answers])
    assert 0.8 < np.sqrt((stated**2).mean() / (errors**2).mean()) < 1.3
    assert (np.abs(errors) < 2 * stated).mean() > 0.9


@pytest.mark.parametrize("evaluations", [128, 256, 512, 1024, 2048])
@pytest.mark.filterwarnings("ignore")
def test_error_is_no_worse_than_shaps_at_equal_evaluations(lenet, served, evaluations: int) -> None:
    import shap  # warns when imported

    background = lenet.background.mean(axis=0, keepdims=True)
    players = Players.grid((1, 28, 28), 3, 4)
    g = Game(served.logits, players, background)
    x, targets = lenet.images[:6], lenet.labels[:6]
    truth = kernel_shap(g, x, targets=targets).values[..., 0]
    everything = g.values(x, all_coalitions(12), targets)[..., 0]
    place = 1 << np.arange(12)
    ours, theirs = [], []
    for seed in range(5):
        answer = kernel_shap(g, x, targets=targets, max_evaluations=evaluations, seed=seed)
        ours.append(answer.values[..., 0] - truth)
        for row in range(len(x)):
            np.random.seed(seed)  # shap draws from the global state
            explainer = shap.KernelExplainer(
                lambda z, v=everything[row]: v[z.astype(int) @ place], np.zeros((1, 12))
            )
            values = explainer.shap_values(  # without the empty and the full coalition
                np.ones((1, 12)), nsamples=evaluations - 2, l1_reg=False, silent=True
            )
            theirs.append(values[0] - truth[row])
    assert np.square(ours).mean() <= np.square(theirs).mean()


def test_twelve_superpixels_exactly(lenet, served) -> None:
    """The acceptance case: by regression over all coalitions and by definition, to 1e-5."""
    background = lenet.background.mean(axis=0, keepdims=True)
    g = Game(served.logits, Players.grid((1, 28, 28), 3, 4), background)
    plan = plan_coalitions(12, 2**12, np.random.default_rng(0))
    x = lenet.images[:2]
    exact = kernel_shap(g, x)
    differences = g.values(x, plan.masks) - g.values(x, ~plan.masks)
    values, _ = regress(plan, differences, exact.outputs - exact.base_values)
    np.testing.assert_allclose(values, exact.values, atol=1e-5)


def test_budgets_that_cannot_work_are_refused_with_the_limits() -> None:
    g = game(interactions(20), 20, background_rows=3)
    with pytest.raises(InvalidArgument, match=r"=100: 20 players .* 3 background rows take 126"):
        kernel_shap(g, rows(20), max_evaluations=100)
    with pytest.raises(InvalidArgument, match="take 126 to"):
        kernel_shap(g, rows(20), max_evaluations=module.MAX_CELLS)
    many = Game(lambda x: x, Players.features((5000,)), np.zeros((1, 5000)))
    with pytest.raises(InvalidArgument, match="5000 players are too many: use a grid"):
        kernel_shap(many, np.zeros((1, 5000)))


def test_a_small_budget_for_few_players_and_a_large_one_for_many_are_exact() -> None:
    g = game(interactions(3), 3)
    assert kernel_shap(g, rows(3), max_evaluations=8).is_exact
    g = game(interactions(13), 13)
    assert not kernel_shap(g, rows(13)).is_exact
    assert kernel_shap(g, rows(13), max_evaluations=2**13).is_exact
    with pytest.raises(InvalidArgument, match="take 2 to"):
        kernel_shap(game(lambda x: x, 1), rows(1), max_evaluations=1)
    assert kernel_shap(game(lambda x: x, 1), rows(1)).is_exact


@pytest.mark.parametrize("seed", range(4))
def test_what_was_never_drawn_is_not_known_for_certain(seed: int) -> None:
    """A budget for the coalitions of one player says nothing of those of more."""
    players = 10
    predict = interactions(players, seed)
    x = np.random.default_rng(seed).normal(size=(1, players)).astype(np.float32)
    least = module.minimum_evaluations(players, 1)
    found = kernel_shap(game(predict, players), x, max_evaluations=least)
    truth = kernel_shap(game(predict, players), x)
    assert truth.is_exact
    assert not plan_coalitions(players, players, np.random.default_rng(0)).is_complete
    errors = np.sqrt(((found.values - truth.values) ** 2).mean(axis=1))
    told = np.sqrt((found.standard_errors**2).mean(axis=1))
    assert (told >= errors).all()
