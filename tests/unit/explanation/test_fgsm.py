from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import torch

from services.explanation.attacks.ball import Ball
from services.explanation.attacks.box import Box
from services.explanation.attacks.fgsm import fgsm
from services.explanation.attacks.norms import distances
from services.explanation.attacks.victim import Victim, margin_weights


def moved_by_fgsm(model, rows, classes, ball: Ball, *, is_targeted: bool = False):
    victim = Victim(model.logits, model.gradient, classes, is_targeted=is_targeted)
    return fgsm(victim, rows, ball)


def test_by_hand() -> None:
    """Two classes, z = (x₀, x₁): away from class 0 means x₀ down, x₁ up."""
    identity = SimpleNamespace(logits=lambda x: x, gradient=lambda rows, dz: dz)
    x, zero = np.float32([[0.5, 0.5]]), np.array([0])
    near = Ball(0.25, Box(0, 1))
    np.testing.assert_array_equal(moved_by_fgsm(identity, x, zero, near), [[0.25, 0.75]])
    towards = moved_by_fgsm(identity, x, zero, near, is_targeted=True)
    np.testing.assert_array_equal(towards, [[0.75, 0.25]])
    far = Ball(2, Box(0, 1))
    np.testing.assert_array_equal(moved_by_fgsm(identity, x, zero, far), [[0, 1]])


def test_the_step_is_that_of_the_cross_entropy_on_logits(lenet, served) -> None:
    """The three-line definition in float64, on every pixel whose slope is not rounding noise."""
    x, y = torch.tensor(lenet.images[:100]), torch.tensor(lenet.labels[:100])
    leaf = x.double().requires_grad_()
    logits, _ = lenet.network.double()(leaf)
    torch.nn.functional.cross_entropy(logits, y, reduction="sum").backward()
    lenet.network.float()
    slope = leaf.grad.numpy()
    ours = moved_by_fgsm(served, x.numpy(), y.numpy(), Ball(0.2, Box(0, 1)))
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
    curve = []
    for epsilon in (0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3):
        moved = moved_by_fgsm(served, lenet.images, lenet.labels, Ball(epsilon, Box(0, 1)))
        assert (distances(lenet.images, moved, "linf") <= epsilon).all()
        assert moved.min() >= 0
        assert moved.max() <= 1
        curve.append((served.logits(moved).argmax(axis=1) == lenet.labels).mean())
    assert curve[0] >= 0.97
    assert curve[4] <= 0.45
    assert curve[6] <= 0.2
    assert curve == sorted(curve, reverse=True)


def test_targeted_steps_reach_their_class_more_often(lenet, served) -> None:
    x, wanted = lenet.images[:200], np.full(200, 8)
    moved = moved_by_fgsm(served, x, wanted, Ball(0.2, Box(0, 1)), is_targeted=True)
    before, after = served.logits(x), served.logits(moved)
    assert (after.argmax(1) == 8).mean() > (before.argmax(1) == 8).mean() + 0.05
    probability = torch.softmax(torch.tensor(np.stack([before, after])), -1)[..., 8]
    assert (probability[1] > probability[0]).double().mean() > 0.8
