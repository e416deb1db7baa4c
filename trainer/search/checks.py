"""Whether a search can be carried out at all; asked before its first trial."""

from __future__ import annotations

from typing import get_args

from trainer.search.space import parse_space
from trainer.search.study import Plan, Pruning
from wintergarden.errors import InvalidArgument
from wintergarden.jobs import TrainingSpec
from wintergarden.jobs.records import SearchSpec

MAX_TRIALS = 10_000
MAX_PARALLEL = 1_000


def make_plan(spec: SearchSpec) -> Plan:
    """How to search.

    Raises:
        InvalidArgument: naming the field.
    """
    for name, value, most in (
        ("trials", spec.trials, MAX_TRIALS),
        ("parallel", spec.parallel, MAX_PARALLEL),
    ):
        if not 1 <= value <= most:
            raise InvalidArgument(f"{name}: got {value}; allowed are 1 to {most}", field=name)
    if spec.metric.startswith("test_"):
        raise InvalidArgument(
            f"metric {spec.metric!r} is of the held-out examples: a search that chooses by them "
            "leaves none to judge its choice by; use validation_accuracy or validation_loss",
            field="metric",
        )
    for pruning in get_args(Pruning):
        if pruning == spec.pruning:
            break
    else:
        raise InvalidArgument(
            f"pruning {spec.pruning!r:.80} is unknown; allowed are {', '.join(get_args(Pruning))}",
            field="pruning",
        )
    try:
        TrainingSpec(**spec.training)
    except TypeError as error:
        raise InvalidArgument(f"training: {error}", field="training") from error
    return Plan(parse_space(spec.space), spec.is_maximised, spec.seed, pruning)
