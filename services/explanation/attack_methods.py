"""The attacks there are, with the numbers each can be tuned by."""

from __future__ import annotations

from dataclasses import dataclass, field

from services.explanation.arrays import Array
from services.explanation.attack import Perturbation
from services.explanation.attacks.ball import Ball
from services.explanation.attacks.boundary import boundary
from services.explanation.attacks.carlini_wagner import carlini_wagner
from services.explanation.attacks.choices import OneOf
from services.explanation.attacks.deepfool import deepfool
from services.explanation.attacks.fgsm import fgsm
from services.explanation.attacks.hotflip import hotflip
from services.explanation.attacks.iterated import Climb, climb
from services.explanation.attacks.lbfgs import lbfgs
from services.explanation.attacks.square import square
from services.explanation.attacks.victim import Victim
from services.explanation.method import Method
from services.explanation.parameters import Numbers, Parameter


@dataclass(frozen=True)
class AttackMethod(Method):
    perturb: Perturbation = field(kw_only=True)


def _climb(victim: Victim, rows: Array, ball: Ball, numbers: Numbers) -> Array:
    how = Climb(
        steps=int(numbers["steps"]),
        step_size=numbers["step_size"] or 2.5 / numbers["steps"],
        decay=numbers.get("decay"),
        starts=int(numbers.get("starts", 1)),
        starts_at_random="starts" in numbers,
        seed=int(numbers.get("seed", 0)),
    )
    return climb(victim, rows, ball, how)


def _flip(victim: Victim, rows: Array, ball: Ball, numbers: Numbers) -> Array:
    return hotflip(
        victim,
        rows,
        ball.box.choices or OneOf(()),
        flips=int(ball.epsilon),
        candidates=int(numbers["candidates"]),
    )


def _steps(default: int, most: int = 10_000) -> Parameter:
    return Parameter("steps", default, 1, most, "steps at most")


_STEP_SIZE = Parameter(
    "step_size", 0, 0, 2, "length of a step in radii; 0: 2.5 / steps", is_whole=False
)
_SEED = Parameter("seed", 0, 0, 2**53, "of what is drawn")
_SEARCHES = Parameter("searches", 9, 1, 30, "weights between distance and loss that are tried")

ATTACKS = (
    AttackMethod(
        name="fgsm",
        kind="attack",
        needs_gradient=True,
        summary="One step of size epsilon along the sign of the cross-entropy's gradient",
        source="Goodfellow, Shlens, Szegedy, Explaining and Harnessing Adversarial Examples, "
        "2014, arXiv:1412.6572",
        perturb=Perturbation(lambda victim, rows, ball, _: fgsm(victim, rows, ball)),
    ),
    AttackMethod(
        name="ifgsm",
        kind="attack",
        needs_gradient=True,
        summary="FGSM in many small steps, each from where the last one led",
        source="Kurakin, Goodfellow, Bengio, Adversarial examples in the physical world, 2016, "
        "arXiv:1607.02533",
        parameters=(_steps(10), _STEP_SIZE),
        perturb=Perturbation(_climb),
    ),
    AttackMethod(
        name="mifgsm",
        kind="attack",
        needs_gradient=True,
        summary="I-FGSM whose steps have momentum, which carries over to other models better",
        source="Dong et al., Boosting Adversarial Attacks with Momentum, 2018, arXiv:1710.06081",
        parameters=(
            _steps(10),
            _STEP_SIZE,
            Parameter("decay", 1, 0, 10, "of the momentum", is_whole=False),
        ),
        perturb=Perturbation(_climb),
    ),
    AttackMethod(
        name="pgd",
        kind="attack",
        needs_gradient=True,
        summary="Projected gradient ascent from random points of the ball",
        source="Madry et al., Towards Deep Learning Models Resistant to Adversarial Attacks, "
        "2018, arXiv:1706.06083",
        parameters=(
            _steps(40),
            _STEP_SIZE,
            Parameter("starts", 1, 1, 100, "random points it starts from"),
            _SEED,
        ),
        perturb=Perturbation(_climb),
    ),
    AttackMethod(
        name="deepfool",
        kind="attack",
        needs_gradient=True,
        summary="The smallest change: to the nearest border of the linearised model, repeatedly",
        source="Moosavi-Dezfooli, Fawzi, Frossard, DeepFool, 2016, arXiv:1511.04599",
        parameters=(
            _steps(50),
            Parameter("overshoot", 0.02, 0, 1, "share gone beyond the border", is_whole=False),
            Parameter("candidates", 10, 1, 1000, "classes whose borders are tried"),
        ),
        perturb=Perturbation(
            lambda victim, rows, ball, n: deepfool(
                victim,
                rows,
                ball.box,
                norm=ball.norm,
                steps=int(n["steps"]),
                overshoot=n["overshoot"],
                candidates=int(n["candidates"]),
            ),
            is_bounded=False,
        ),
    ),
    AttackMethod(
        name="carlini_wagner",
        kind="attack",
        needs_gradient=True,
        summary="The smallest change in L2, by gradient descent on distance and lead together",
        source="Carlini, Wagner, Towards Evaluating the Robustness of Neural Networks, 2017, "
        "arXiv:1608.04644",
        parameters=(
            _steps(1000),
            _SEARCHES,
            Parameter("learning_rate", 0.01, 1e-6, 10, "of Adam, in tanh space", is_whole=False),
            Parameter("confidence", 0, 0, 1e6, "lead of the wrong logit", is_whole=False),
        ),
        perturb=Perturbation(
            lambda victim, rows, ball, n: carlini_wagner(
                victim,
                rows,
                ball.box,
                steps=int(n["steps"]),
                searches=int(n["searches"]),
                learning_rate=n["learning_rate"],
                confidence=n["confidence"],
            ),
            is_bounded=False,
        ),
    ),
    AttackMethod(
        name="lbfgs",
        kind="attack",
        needs_gradient=True,
        summary="The smallest change in L2, by box-constrained L-BFGS; the first attack there was",
        source="Szegedy et al., Intriguing properties of neural networks, 2013, arXiv:1312.6199",
        parameters=(_steps(100), _SEARCHES),
        perturb=Perturbation(
            lambda victim, rows, ball, n: lbfgs(
                victim, rows, ball.box, steps=int(n["steps"]), searches=int(n["searches"])
            ),
            is_bounded=False,
        ),
    ),
    AttackMethod(
        name="hotflip",
        kind="attack",
        needs_gradient=True,
        summary="Another token, or another column of a group, where the slope says it helps most",
        source="Ebrahimi, Rao, Lowd, Dou, HotFlip: White-Box Adversarial Examples for Text "
        "Classification, 2018, arXiv:1712.06751",
        parameters=(Parameter("candidates", 10, 1, 1000, "flips that are run, of each step"),),
        perturb=Perturbation(_flip, flips=True),
    ),
    AttackMethod(
        name="square",
        kind="attack",
        needs_gradient=False,
        summary="Random squares of the largest change, kept where they help; needs scores alone",
        source="Andriushchenko, Croce, Flammarion, Hein, Square Attack, 2020, arXiv:1912.00049",
        parameters=(
            _steps(1000, 100_000),
            Parameter("share", 0.8, 1e-6, 1, "of the elements moved at first", is_whole=False),
            _SEED,
        ),
        perturb=Perturbation(
            lambda victim, rows, ball, n: square(
                victim, rows, ball, steps=int(n["steps"]), share=n["share"], seed=int(n["seed"])
            ),
            needs_gradient=False,
        ),
    ),
    AttackMethod(
        name="boundary",
        kind="attack",
        needs_gradient=False,
        summary="The smallest change in L2, walking along the border; needs decisions alone",
        source="Brendel, Rauber, Bethge, Decision-Based Adversarial Attacks, 2018, "
        "arXiv:1712.04248",
        parameters=(_steps(1000, 100_000), _SEED),
        perturb=Perturbation(
            lambda victim, rows, ball, n: boundary(
                victim, rows, ball.box, steps=int(n["steps"]), seed=int(n["seed"])
            ),
            is_bounded=False,
            needs_gradient=False,
        ),
    ),
)
