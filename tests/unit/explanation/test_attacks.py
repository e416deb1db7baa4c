"""Invariants of every attack on a LeNet that is right on 97 % of the digits, and foolbox's results.

Attacks are called as requests call them, through the registry, so that none is forgotten.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import Bounds, minimize

from services.explanation.attack_methods import ATTACKS, AttackMethod
from services.explanation.attacks import deepfool
from services.explanation.attacks.ball import Ball, Norm
from services.explanation.attacks.box import Box
from services.explanation.attacks.norms import distances
from services.explanation.attacks.square import square
from services.explanation.attacks.victim import Victim, margin_weights, margins
from services.explanation.parameters import settle
from wintergarden.errors import FailedPrecondition, InvalidArgument, InvalidTensor, Unsupported

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of SciPy, for how foolbox imports it
    import foolbox

ROWS = 24
SLOW = {"carlini_wagner": 8, "lbfgs": 3}  # rows, of methods that run the model thousands of times
FEW = {
    "ifgsm": {"steps": 10},
    "mifgsm": {"steps": 10},
    "pgd": {"steps": 10, "starts": 2},
    "carlini_wagner": {"steps": 100, "searches": 5, "learning_rate": 0.1},
    "lbfgs": {"steps": 30, "searches": 6},
    "square": {"steps": 100},
    "boundary": {"steps": 100},
}
# What flips tokens or groups has tests of its own: test_hotflip.py.
BOUNDED = [m for m in ATTACKS if m.perturb.is_bounded and not m.perturb.flips]
MINIMAL = [m for m in ATTACKS if not m.perturb.is_bounded]
BY_DEGREES = [*BOUNDED, *MINIMAL]


def names(method: AttackMethod) -> str:
    return method.name


@dataclass(frozen=True, eq=False)
class Result:
    rows: np.ndarray
    moved: np.ndarray
    victim: Victim
    fooled: np.ndarray

    @property
    def l2(self) -> np.ndarray:
        return distances(self.rows, self.moved, "l2")


@pytest.fixture(scope="module")
def digits(lenet, served):
    """Digits that the network is right about, and their classes."""
    right = served.logits(lenet.images).argmax(1) == lenet.labels
    return lenet.images[right][:ROWS], lenet.labels[right][:ROWS]


@pytest.fixture(scope="module")
def run(served, digits):
    def run(method: AttackMethod, ball: Ball, targets: np.ndarray | None = None, **more) -> Result:
        count = SLOW.get(method.name, ROWS)
        rows, labels = (array[:count] for array in digits)
        is_targeted = targets is not None
        classes = targets[:count] if targets is not None else labels
        victim = Victim(served.logits, served.gradient, classes, is_targeted=is_targeted)
        before = rows.copy()
        numbers = settle(method.name, method.parameters, FEW.get(method.name, {}) | more)
        moved = method.perturb.move(victim, rows, ball, numbers)
        np.testing.assert_array_equal(rows, before)
        assert moved.dtype == rows.dtype
        assert moved.shape == rows.shape
        fooled = (served.logits(moved).argmax(1) == classes) == is_targeted
        return Result(rows, moved, victim, fooled)

    return run


@pytest.mark.parametrize("method", BY_DEGREES, ids=names)
def test_stays_where_it_may_be_and_counts(method: AttackMethod, run) -> None:
    box = Box(0, 1)
    ball = Ball(0.15 if method.perturb.is_bounded else 0, box)
    result = run(method, ball)
    assert result.moved.min() >= 0
    assert result.moved.max() <= 1
    if method.perturb.is_bounded:
        assert (distances(result.rows, result.moved, "linf") <= 0.15).all()
    assert (result.victim.queries >= 1).all()
    assert (result.victim.gradients.sum() > 0) == method.needs_gradient
    assert result.fooled.mean() >= (0.1 if method.name == "square" else 0.3)


@pytest.mark.parametrize("method", BY_DEGREES, ids=names)
def test_what_may_not_change_does_not(method: AttackMethod, run) -> None:
    changeable = np.zeros((1, 28, 28), bool)
    changeable[:, 7:21, 7:21] = True
    norm = "linf" if method.name == "square" else "l2"
    ball = Ball(2.0 if method.perturb.is_bounded else 0, Box(0, 1, changeable=changeable), norm)
    result = run(method, ball)
    held = np.broadcast_to(~changeable, result.rows.shape)
    np.testing.assert_array_equal(result.moved[held], result.rows[held])
    assert (result.moved != result.rows).any()


@pytest.mark.parametrize("method", [m for m in BOUNDED if m.name != "square"], ids=names)
def test_l2_bound(method: AttackMethod, run) -> None:
    result = run(method, Ball(2.0, Box(0, 1), "l2"))
    assert (result.l2 <= 2.0).all()
    assert result.l2.max() > 1.5
    assert result.fooled.mean() > 0.3


@pytest.mark.parametrize("method", BY_DEGREES, ids=names)
def test_targeted(method: AttackMethod, run, digits) -> None:
    targets = (digits[1] + 1) % 10
    radius = 0.3 if method.perturb.is_bounded else 0
    more = {"steps": 300} if method.name == "boundary" else {}
    aimed = run(method, Ball(radius, Box(0, 1)), targets, **more)
    assert aimed.fooled.mean() >= (0.05 if method.name in {"fgsm", "boundary"} else 0.3)


@pytest.mark.parametrize("method", BOUNDED, ids=names)
def test_radius_zero_changes_nothing(method: AttackMethod, run) -> None:
    result = run(method, Ball(0, Box(0, 1)))
    np.testing.assert_array_equal(result.moved, result.rows)


@pytest.mark.parametrize(
    "method", [m for m in ATTACKS if m.name in {"pgd", "square", "boundary"}], ids=names
)
def test_a_seed_repeats_it(method: AttackMethod, run) -> None:
    ball = Ball(0.1 if method.perturb.is_bounded else 0, Box(0, 1))
    first, again, other = (run(method, ball, steps=20, seed=seed).moved for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


@pytest.mark.parametrize("name", ["carlini_wagner", "lbfgs", "boundary"])
def test_a_method_that_searches_a_range_needs_one(name: str, run) -> None:
    method = next(m for m in ATTACKS if m.name == name)
    with pytest.raises(FailedPrecondition, match="name value_range"):
        run(method, Ball(0, Box()))


@pytest.mark.parametrize("name", ["carlini_wagner", "lbfgs", "boundary"])
def test_a_range_without_a_width_is_refused(name: str, run) -> None:
    method = next(m for m in ATTACKS if m.name == name)
    with pytest.raises(InvalidArgument, match=r"a range of .* at most") as error:
        run(method, Ball(0, Box(-1.7e308, 1.7e308)))
    assert error.value.field == "value_range"


@pytest.mark.parametrize("method", MINIMAL, ids=names)
def test_a_row_that_fools_unmoved_stays(method: AttackMethod, run, digits) -> None:
    """Targeted, the class that is wanted of the first row is its own."""
    targets = (digits[1] + 1) % 10
    targets[0] = digits[1][0]
    result = run(method, Ball(0, Box(0, 1)), targets)
    np.testing.assert_array_equal(result.moved[0], result.rows[0])
    assert (result.moved[1:] != result.rows[1:]).any()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_deepfool_keeps_few_of_many_borders(norm: Norm, monkeypatch) -> None:
    """And goes where it would have gone with all of them before it."""
    rng = np.random.default_rng(0)
    features, classes = 400, 300
    weights = rng.standard_normal((features, classes))
    rows = rng.random((3, features))
    logits = rows @ weights
    batches: list[int] = []

    def slope(_: np.ndarray, cotangents: np.ndarray) -> np.ndarray:
        batches.append(len(cotangents))
        return cotangents @ weights.T

    def moved(most_bytes: int) -> np.ndarray:
        monkeypatch.setattr(deepfool, "_MOST_BYTES", most_bytes)
        batches.clear()
        victim = Victim(lambda x: x @ weights, slope, logits.argmax(axis=1), is_targeted=False)
        return deepfool.deepfool(victim, rows, Box(), norm=norm, candidates=classes)

    together = moved(1 << 30)
    assert max(batches) == len(rows) * (classes - 1)
    in_parts = moved(1 << 18)
    assert max(batches) * 8 * (features + classes) <= 1 << 18
    np.testing.assert_allclose(in_parts, together, rtol=1e-12)
    assert ((together @ weights).argmax(axis=1) != logits.argmax(axis=1)).all()


@pytest.mark.parametrize("step", [0, 1])
def test_square_moves_squares_of_either_layout(step: int) -> None:
    """What is drawn is the same, so [H, W, C] is moved as [C, H, W] is."""
    first = np.full((2, 3, 20, 24), 0.5, np.float32)
    last = np.moveaxis(first, 1, -1)
    weights = np.random.default_rng(0).standard_normal(first[0].shape)

    def moved(rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
        def logits(x: np.ndarray) -> np.ndarray:
            height = (x * weights).sum(axis=(1, 2, 3))
            return np.stack([100 - height, height], axis=1)

        victim = Victim(logits, lambda x, _: x, np.zeros(2, np.int64), is_targeted=False)
        return square(victim, rows, Ball(0.1, Box(0, 1)), steps=20 * step + 1)

    np.testing.assert_array_equal(
        np.moveaxis(moved(first, weights), 1, -1), moved(last, np.moveaxis(weights, 0, -1))
    )


def test_square_knows_one_norm(run) -> None:
    with pytest.raises(Unsupported, match="pgd and boundary know L2"):
        run(next(m for m in ATTACKS if m.name == "square"), Ball(1, Box(0, 1), "l2"))


def test_where_no_point_fools_the_model_every_row_stays(digits) -> None:
    """Also where that is all of them."""
    rows, labels = digits[0][:3], np.zeros(3, np.int64)
    sure = np.eye(10, dtype=np.float32)[labels]
    victim = Victim(
        lambda x: np.repeat(sure[:1], len(x), 0), lambda x, _: 0 * x, labels, is_targeted=False
    )
    method = next(m for m in ATTACKS if m.name == "boundary")
    numbers = settle(method.name, method.parameters, {"steps": 5})
    moved = method.perturb.move(victim, rows, Ball(0, Box(0, 1)), numbers)
    np.testing.assert_array_equal(moved, rows)


def test_a_mask_has_the_shape_of_a_row() -> None:
    box = Box(0, 1, changeable=np.ones((3,), bool))
    with pytest.raises(InvalidTensor, match=r"shape \[3\], a row of the input \[2\]"):
        box.check_centre(np.zeros((1, 2), np.float32))


@given(z=st.lists(st.floats(-30, 30), min_size=3, max_size=3), y=st.integers(0, 2))
@settings(max_examples=30)
def test_margin_weights_are_the_slope_of_the_margin(z: list[float], y: int) -> None:
    logits, classes, step = np.array([z]), np.array([y]), 1e-6
    for index in range(3):
        up, down = logits.copy(), logits.copy()
        up[0, index] += step
        down[0, index] -= step
        slope = (margins(up, classes) - margins(down, classes)) / (2 * step)
        np.testing.assert_allclose(slope, margin_weights(logits, classes)[:, index], atol=1e-6)


class Logits(torch.nn.Module):
    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network(x)[0]


@pytest.fixture(scope="module")
def theirs(lenet, digits):
    """Runs an attack of foolbox's on the same network and digits: moved rows."""
    model = foolbox.PyTorchModel(Logits(lenet.network).eval(), bounds=(0, 1), device="cpu")
    x, y = (torch.tensor(array) for array in digits)

    def run(attack, epsilon: float | None = None, count: int = ROWS) -> np.ndarray:
        torch.manual_seed(0)
        _, moved, _ = attack(model, x[:count], y[:count], epsilons=epsilon)
        return moved.numpy()

    return run


@pytest.mark.parametrize(
    ("name", "attack", "norm", "epsilon", "numbers"),
    [
        ("fgsm", foolbox.attacks.FGSM(), "linf", 0.15, {}),
        (
            "ifgsm",
            foolbox.attacks.LinfBasicIterativeAttack(rel_stepsize=0.25, steps=10),
            "linf",
            0.12,
            {"steps": 10, "step_size": 0.25},
        ),
        (
            "pgd",
            foolbox.attacks.LinfPGD(rel_stepsize=0.125, steps=20),
            "linf",
            0.12,
            {"steps": 20, "step_size": 0.125, "starts": 1},
        ),
        (
            "pgd",
            foolbox.attacks.L2PGD(rel_stepsize=0.125, steps=20),
            "l2",
            1.7,
            {"steps": 20, "step_size": 0.125, "starts": 1},
        ),
    ],
)
def test_bounded_attacks_succeed_as_often_as_foolbox(
    name, attack, norm, epsilon, numbers, run, theirs, served, digits
) -> None:
    method = next(m for m in ATTACKS if m.name == name)
    ours = run(method, Ball(epsilon, Box(0, 1), norm), **numbers)
    moved = theirs(attack, epsilon)
    their_success = (served.logits(moved).argmax(1) != digits[1]).mean()
    print(f"{name} {norm}: ours {ours.fooled.mean():.3f}, foolbox {their_success:.3f}")
    assert 0 < their_success <= ours.fooled.mean()


@pytest.mark.parametrize(
    ("name", "attack", "norm", "numbers"),
    [
        ("deepfool", foolbox.attacks.L2DeepFoolAttack(loss="logits"), "l2", {}),
        ("deepfool", foolbox.attacks.LinfDeepFoolAttack(loss="logits"), "linf", {}),
        (
            "carlini_wagner",
            foolbox.attacks.L2CarliniWagnerAttack(binary_search_steps=5, steps=200, stepsize=0.03),
            "l2",
            {"searches": 5, "steps": 200, "learning_rate": 0.03},
        ),
    ],
)
def test_smallest_changes_are_as_small_as_foolbox(
    name, attack, norm, numbers, run, theirs, served, digits
) -> None:
    method = next(m for m in ATTACKS if m.name == name)
    ours = run(method, Ball(0, Box(0, 1), norm), **numbers)
    moved = theirs(attack, count=len(ours.rows))
    fooled = served.logits(moved).argmax(1) != ours.victim.classes
    assert ours.fooled.mean() >= fooled.mean() > 0.9
    median = np.median(distances(ours.rows, ours.moved, norm)[ours.fooled])
    their_median = np.median(distances(ours.rows, moved, norm)[fooled])
    print(f"{name} {norm}: median ours {median:.4f}, foolbox {their_median:.4f}")
    assert median <= 1.02 * their_median


def test_lbfgs_finds_changes_as_small_as_scipy_on_the_network_in_float64(
    run, lenet, served
) -> None:
    """The same search over c, written down again: no library has this attack."""
    ours = run(next(m for m in ATTACKS if m.name == "lbfgs"), Ball(0, Box(0, 1)))
    network = Logits(lenet.network).eval().double()
    nearest = []
    for row, label in zip(ours.rows.astype(np.float64), ours.victim.classes, strict=True):
        start = torch.tensor(row[None])
        wanted = network(start)[0].detach().argsort(descending=True)
        target = wanted[wanted != label][:1]

        def cost(
            flat: np.ndarray, c: float, start=start, target=target
        ) -> tuple[float, np.ndarray]:
            x = torch.tensor(flat).reshape(start.shape).requires_grad_()
            loss = c * (x - start).square().sum()
            loss = loss + torch.nn.functional.cross_entropy(network(x), target)
            loss.backward()
            return loss.item(), x.grad.numpy().ravel()

        low, high, best = np.log(1e-6), np.log(1e6), np.inf
        c = 0.0
        for _ in range(FEW["lbfgs"]["searches"]):
            x = minimize(
                cost, row.ravel(), (np.exp(c),), "L-BFGS-B", jac=True, bounds=Bounds(0, 1),
                options={"maxiter": FEW["lbfgs"]["steps"]},
            ).x  # fmt: skip
            if network(torch.tensor(x).reshape(start.shape)).argmax() == label:
                high = c
            else:
                low, best = c, min(best, float(np.linalg.norm(x - row.ravel())))
            c = (low + high) / 2
        nearest.append(best)
    lenet.network.float()
    assert ours.fooled.all()
    assert np.median(ours.l2) <= 1.02 * np.median(nearest)
