from __future__ import annotations

import numpy as np
import pytest
import torch

from services.explanation.attacks.ball import Ball, distance_linf
from services.explanation.attacks.fgsm import fgsm, margin_weights
from services.explanation.attacks.robustness import accuracy_curve


def linear(weights: np.ndarray):
    """logits = x W, whose gradient is (dz) Wᵀ."""
    return lambda rows, dz: dz @ weights.T


def test_by_hand() -> None:
    """Two classes, z = (x₀, x₁): away from class 0 means x₀ down, x₁ up."""
    x, z = np.float32([[0.5, 0.5]]), np.float32([[0.5, 0.5]])
    identity = linear(np.eye(2, dtype=np.float32))
    away = fgsm(identity, x, z, np.array([0]), Ball(0.25, 0, 1), is_targeted=False)
    np.testing.assert_array_equal(away, [[0.25, 0.75]])
    towards = fgsm(identity, x, z, np.array([0]), Ball(0.25, 0, 1), is_targeted=True)
    np.testing.assert_array_equal(towards, [[0.75, 0.25]])
    clipped = fgsm(identity, x, z, np.array([0]), Ball(2, 0, 1), is_targeted=False)
    np.testing.assert_array_equal(clipped, [[0, 1]])


def test_the_step_is_that_of_the_cross_entropy_on_logits(lenet, served) -> None:
    """The three-line definition in float64, on every pixel whose slope is not rounding noise."""
    x, y = torch.tensor(lenet.images[:100]), torch.tensor(lenet.labels[:100])
    leaf = x.double().requires_grad_()
    logits, _ = lenet.network.double()(leaf)
    torch.nn.functional.cross_entropy(logits, y, reduction="sum").backward()
    lenet.network.float()
    slope = leaf.grad.numpy()
    ball = Ball(0.2, 0, 1)
    ours = fgsm(
        served.gradient, x.numpy(), served.logits(x.numpy()), y.numpy(), ball, is_targeted=False
    )
    theirs = np.clip(x.numpy() + 0.2 * np.sign(slope), 0, 1)
    largest = np.abs(slope).max(axis=(1, 2, 3), keepdims=True)
    clear = np.abs(slope) > 1e-4 * largest
    assert clear.mean() > 0.9
    np.testing.assert_allclose(ours[clear], theirs[clear], atol=1e-6)


def test_a_saturated_softmax_still_has_a_direction() -> None:
    """In float32 the cross-entropy's gradient is (0, e⁻¹⁰⁰ = 0): no direction at all."""
    weights = margin_weights(np.float32([[100, 0, -50]]), np.array([0]))
    np.testing.assert_allclose(weights, [[-1, 1, 0]], atol=1e-6)


def test_margin_weights_are_the_gradient_of_the_cross_entropy_scaled() -> None:
    z = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    y = torch.tensor([0, 1, 2, 3, 0])
    torch.nn.functional.cross_entropy(z, y, reduction="sum").backward()
    weights = margin_weights(z.detach().numpy(), y.numpy())
    wrong = 1 - z.detach().softmax(1)[torch.arange(5), y]
    np.testing.assert_allclose(weights * wrong[:, None].numpy(), z.grad.numpy(), atol=1e-12)


def test_accuracy_falls_on_a_good_lenet_and_the_bound_holds(lenet, served) -> None:
    def attack(rows: np.ndarray, labels: np.ndarray, ball: Ball) -> np.ndarray:
        moved = fgsm(served.gradient, rows, served.logits(rows), labels, ball, is_targeted=False)
        assert (distance_linf(rows, moved) <= ball.epsilon).all()
        assert moved.min() >= 0
        assert moved.max() <= 1
        return moved

    balls = [Ball(e, 0, 1) for e in (0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3)]
    curve = accuracy_curve(served.logits, attack, lenet.images, lenet.labels, balls)
    assert curve[0] >= 0.97
    assert curve[4] <= 0.45
    assert curve[6] <= 0.2
    assert curve == sorted(curve, reverse=True)


def test_targeted_steps_reach_their_class_more_often(lenet, served) -> None:
    x, wanted = lenet.images[:200], np.full(200, 8)
    ball = Ball(0.2, 0, 1)
    moved = fgsm(served.gradient, x, served.logits(x), wanted, ball, is_targeted=True)
    before, after = served.logits(x), served.logits(moved)
    assert (after.argmax(1) == 8).mean() > (before.argmax(1) == 8).mean() + 0.05
    probability = torch.softmax(torch.tensor(np.stack([before, after])), -1)[..., 8]
    assert (probability[1] > probability[0]).double().mean() > 0.8


@pytest.mark.parametrize("is_targeted", [False, True])
def test_epsilon_zero_changes_nothing(lenet, served, is_targeted: bool) -> None:
    x = lenet.images[:4]
    moved = fgsm(
        served.gradient, x, served.logits(x), np.arange(4), Ball(0, 0, 1), is_targeted=is_targeted
    )
    np.testing.assert_array_equal(moved, x)
