"""What to try next and what to give up: Optuna's study, made anew from the trials each time.

Pure: the same trials and the same seed give the same answer, so that a search that was killed
goes on as if it had not been. Knows no Redis and trains nothing.

Bergstra et al., "Algorithms for hyper-parameter optimization", NIPS 2011, §4 (TPE);
Golovin et al., "Google Vizier", KDD 2017, §3.2 (median rule);
Li et al., "Hyperband", JMLR 18, 2018.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

Pruning = Literal["median", "hyperband", "none"]

STARTUP_TRIALS = 5
"""Drawn at random, and never pruned: there is nothing yet to compare with."""
WARMUP_EPOCHS = 2
"""Of which nothing is concluded."""


@dataclass(frozen=True)
class Trial:
    """One trial as it stands.

    Attributes:
        number: from 0, in the order of submission.
        parameters: chosen for it.
        state: of Optuna's.
        value: of the metric, when complete.
        reports: the metric after each epoch so far.
    """

    number: int
    parameters: Mapping[str, Any]
    state: TrialState
    value: float | None = None
    reports: Mapping[int, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Plan:
    """How to search.

    Attributes:
        space: by hyperparameter.
        is_maximised: whether more of the metric is better.
        seed: of every choice.
        pruning: what decides that a trial is hopeless.
    """

    space: Mapping[str, BaseDistribution]
    is_maximised: bool
    seed: int
    pruning: Pruning = "median"

    def propose(self, trials: Sequence[Trial]) -> dict[str, Any]:
        """Parameters of the next trial.

        Args:
            trials: all there are, in order of their numbers; running ones are taken to turn out
                badly, so that those beside them try something else.
        """
        return dict(self._study(trials).ask(dict(self.space)).params)

    def is_hopeless(self, trials: Sequence[Trial], number: int) -> bool:
        """Whether a running trial is, by its reports, not worth going on with."""
        study = self._study(trials)
        trial = study.get_trials(deepcopy=False)[number]
        if not trial.intermediate_values:
            return False
        return study.pruner.prune(study, trial)

    def best(self, trials: Sequence[Trial]) -> Trial | None:
        """The complete trial with the best value; of equals the first."""
        complete = [t for t in trials if t.value is not None and t.state == TrialState.COMPLETE]
        sign = -1 if self.is_maximised else 1
        return min(complete, key=lambda t: (sign * (t.value or 0.0), t.number), default=None)

    def _study(self, trials: Sequence[Trial]) -> optuna.Study:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        study = optuna.create_study(
            study_name=f"seed-{self.seed}",  # Hyperband's brackets depend on it
            direction="maximize" if self.is_maximised else "minimize",
            sampler=optuna.samplers.TPESampler(
                seed=int(
                    np.random.SeedSequence([self.seed % 2**64, len(trials)]).generate_state(1)[0]
                ),
                n_startup_trials=STARTUP_TRIALS,
                constant_liar=True,
            ),
            pruner=self._pruner(),
        )
        for trial in trials:
            study.add_trial(self._frozen(trial))
        return study

    def _pruner(self) -> optuna.pruners.BasePruner:
        match self.pruning:
            case "median":
                return optuna.pruners.MedianPruner(STARTUP_TRIALS, WARMUP_EPOCHS)
            case "hyperband":
                return optuna.pruners.HyperbandPruner(min_resource=WARMUP_EPOCHS)
            case "none":
                return optuna.pruners.NopPruner()

    def _frozen(self, trial: Trial) -> FrozenTrial:
        return create_trial(
            state=trial.state,
            value=trial.value if trial.state == TrialState.COMPLETE else None,
            params={name: trial.parameters[name] for name in self.space},
            distributions=dict(self.space),
            intermediate_values=dict(trial.reports),
        )
