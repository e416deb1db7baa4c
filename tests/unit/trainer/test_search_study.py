"""What a search tries and gives up: the same for the same trials, whoever asks."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
from optuna.trial import TrialState

from trainer.search.space import parse_space
from trainer.search.study import STARTUP_TRIALS, Plan, Trial
from wintergarden.errors import InvalidArgument

SPACE = {
    "learning_rate": {"type": "float", "low": 1e-4, "high": 1.0, "log": True},
    "layers": {"type": "int", "low": 1, "high": 4},
    "optimizer": {"type": "choice", "choices": ["adam", "sgd"]},
}


def plan(**changes: Any) -> Plan:
    return Plan(**{"space": parse_space(SPACE), "is_maximised": True, "seed": 3} | changes)


def done(number: int, parameters: dict[str, Any], value: float, *reports: float) -> Trial:
    return Trial(
        number, parameters, TrialState.COMPLETE, value, dict(enumerate(reports or (value,), 1))
    )


def quality(parameters: dict[str, Any]) -> float:
    """Best at a learning rate of 0.1 with adam."""
    distance = abs(math.log10(parameters["learning_rate"]) + 1)
    return 1.0 - 0.2 * distance - (0.1 if parameters["optimizer"] == "sgd" else 0.0)


def searched(searching: Plan, trials: int) -> list[Trial]:
    found: list[Trial] = []
    for number in range(trials):
        parameters = searching.propose(found)
        found.append(done(number, parameters, quality(parameters)))
    return found


def test_proposals_are_in_the_space_and_plain_json() -> None:
    for trial in searched(plan(), 8):
        assert 1e-4 <= trial.parameters["learning_rate"] <= 1.0
        assert trial.parameters["layers"] in (1, 2, 3, 4)
        assert type(trial.parameters["layers"]) is int
        assert trial.parameters["optimizer"] in ("adam", "sgd")


def test_the_same_trials_and_seed_give_the_same_proposal() -> None:
    trials = searched(plan(), 9)
    assert plan().propose(trials) == plan().propose(trials)
    assert plan().propose(trials) != plan(seed=4).propose(trials)
    running = [*trials, Trial(9, plan().propose(trials), TrialState.RUNNING)]
    assert plan().propose(running) == plan().propose(running) != plan().propose(trials)


def test_it_does_better_than_chance() -> None:
    """Half of what it tries after its random start against as many random draws, by their means."""
    tried = searched(plan(), 40)[STARTUP_TRIALS:]
    generator = random.Random(0)
    chance = [
        quality(
            {
                "learning_rate": 10 ** generator.uniform(-4, 0),
                "optimizer": generator.choice(["adam", "sgd"]),
            }
        )
        for _ in tried
    ]
    later = tried[len(tried) // 2 :]
    assert sum(t.value or 0 for t in later) / len(later) > sum(chance) / len(chance) + 0.05


@pytest.mark.parametrize("is_maximised", [True, False])
def test_the_best_is_the_best_complete_one(is_maximised: bool) -> None:
    parameters = {"learning_rate": 0.1, "layers": 1, "optimizer": "adam"}
    trials = [
        done(0, parameters, 0.5),
        done(1, parameters, 0.9),
        done(2, parameters, 0.9),
        Trial(3, parameters, TrialState.PRUNED, None, {1: 0.99}),
        Trial(4, parameters, TrialState.RUNNING, None, {1: 0.01}),
    ]
    best = plan(is_maximised=is_maximised).best(trials)
    assert best is not None
    assert best.number == (1 if is_maximised else 0)
    assert plan().best([]) is None


@pytest.mark.parametrize(("pruning", "hopeless"), [("median", True), ("none", False)])
def test_a_trial_below_the_median_is_given_up(pruning: Any, hopeless: bool) -> None:
    parameters = {"learning_rate": 0.1, "layers": 1, "optimizer": "adam"}
    others = [done(i, parameters, 0.9, 0.5, 0.7, 0.8, 0.9) for i in range(STARTUP_TRIALS)]
    bad = Trial(5, parameters, TrialState.RUNNING, None, {1: 0.1, 2: 0.1, 3: 0.1})
    good = Trial(6, parameters, TrialState.RUNNING, None, {1: 0.6, 2: 0.8, 3: 0.9})
    new = Trial(7, parameters, TrialState.RUNNING)
    trials = [*others, bad, good, new]
    verdicts = [plan(pruning=pruning).is_hopeless(trials, number) for number in (5, 6, 7)]
    assert verdicts == [hopeless, False, False]


def test_nothing_is_given_up_before_there_is_something_to_compare_with() -> None:
    parameters = {"learning_rate": 0.1, "layers": 1, "optimizer": "adam"}
    bad = Trial(1, parameters, TrialState.RUNNING, None, {1: 0.0, 2: 0.0, 3: 0.0})
    assert not plan().is_hopeless([done(0, parameters, 0.9, 0.5, 0.7, 0.8), bad], 1)


def test_hyperband_works_on_the_same_trials() -> None:
    parameters = {"learning_rate": 0.1, "layers": 1, "optimizer": "adam"}
    trials = [done(i, parameters, 0.9, *[0.9] * 9) for i in range(6)]
    trials.append(Trial(6, parameters, TrialState.RUNNING, None, dict.fromkeys(range(1, 9), 0.1)))
    searching = plan(pruning="hyperband")
    assert searching.is_hopeless(trials, 6) == searching.is_hopeless(trials, 6)
    assert searching.propose(trials).keys() == SPACE.keys()


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({}, "space: Dictionary should have at least 1 item"),
        ({"x": {"type": "float", "low": 2, "high": 1}}, "low 2.0 is above high 1.0"),
        (
            {"x": {"type": "float", "low": 0, "high": 1, "log": True}},
            "a logarithmic range begins above 0, got 0.0",
        ),
        ({"x": {"type": "int", "low": 0, "high": 5, "step": 2}}, "no whole number of steps"),
        ({"x": {"type": "choice", "choices": []}}, "at least 1 item"),
        ({"x": {"type": "normal"}}, "does not match any of the expected tags"),
        ({"x": {"type": "float", "low": 0, "hgih": 1}}, "space.x.float.high: Field required"),
    ],
)
def test_a_space_without_sense_is_refused(space: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidArgument, match="space") as caught:
        parse_space(space)
    assert message in caught.value.message
    assert caught.value.field.startswith("space")
