"""Attacks on the very file that is served."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from wintergarden.client.answers import (
    Array,
    ModelIdentity,
    Picture,
    as_array,
    as_tensor,
    identity,
    pictures,
)
from wintergarden.client.call import Call, Flow
from wintergarden.wire import explanation_pb2 as pb
from wintergarden.wire.pool import methods

_METHODS = methods("wintergarden.v1.ExplanationService")


@dataclass(frozen=True, eq=False)
class Attack:
    """Adversarial examples.

    At most `epsilon_linf` from the input in the L-infinity norm, in `units`. `output_name` are
    the logits that were attacked.

    Shape:
        adversarial: the input's.
        all others: (N,), one per row.
    """

    model: ModelIdentity
    method: str
    output_name: str
    adversarial: Array
    predictions_before: tuple[int, ...]
    predictions_after: tuple[int, ...]
    confidences_before: Array
    confidences_after: Array
    distances_linf: Array
    successes: tuple[bool, ...]
    epsilon_linf: float
    units: str
    value_range: tuple[float, float] | None
    pictures: tuple[Picture, ...]


@dataclass(frozen=True, eq=False)
class Robustness:
    """Accuracy under attack, `accuracies[i]` at radius `epsilons_linf[i]`."""

    model: ModelIdentity
    method: str
    epsilons_linf: Array
    accuracies: Array
    examples: int
    units: str
    pictures: tuple[Picture, ...]


def attack(
    model: str,
    inputs: npt.ArrayLike,
    method: str = "fgsm",
    *,
    epsilon_linf: float,
    version: int = 0,
    labels: Sequence[int] = (),
    targets: Sequence[int] = (),
    value_range: tuple[float, float] | None = None,
    output_name: str = "",
    render: bool = False,
    timeout_s: float = 300.0,
) -> Flow[Attack]:
    """Change the input as little as `epsilon_linf` allows so that the model errs.

    Args:
        model: its name.
        inputs: (N, …), in the units the model takes.
        method: `list_methods` lists them.
        epsilon_linf: the largest change of any element, in the input's own units.
        version: 0 is the latest.
        labels: the true classes; default: the predicted.
        targets: the classes the model shall see instead, one per row or one for all; default:
            any other.
        value_range: lowest and highest valid value; default: the model's manifest's.
        output_name: of the logits; default: as the manifest says.
        render: also return pictures.
        timeout_s: for the answer, retries included.
    """
    request = pb.AttackRequest(
        model_name=model,
        model_version=version,
        method=method,
        input=as_tensor(inputs),
        labels=labels,
        targets=targets,
        epsilon_linf=epsilon_linf,
        value_range=value_range or (),
        output_name=output_name,
        render=render,
    )
    response = yield Call(_METHODS["Attack"], request, timeout_s)
    low_high = tuple(response.value_range)
    return Attack(
        model=identity(response),
        method=response.method,
        output_name=response.output_name,
        adversarial=as_array(response.adversarial),
        predictions_before=tuple(response.predictions_before),
        predictions_after=tuple(response.predictions_after),
        confidences_before=np.array(response.confidences_before),
        confidences_after=np.array(response.confidences_after),
        distances_linf=np.array(response.distances_linf),
        successes=tuple(response.successes),
        epsilon_linf=response.epsilon_linf,
        units=response.units,
        value_range=(low_high[0], low_high[1]) if len(low_high) == 2 else None,
        pictures=pictures(response),
    )


def robustness(
    model: str,
    method: str = "fgsm",
    *,
    epsilons_linf: Sequence[float] = (),
    version: int = 0,
    max_examples: int = 0,
    render: bool = False,
    timeout_s: float = 600.0,
) -> Flow[Robustness]:
    """Accuracy against epsilon over the model's own held-out examples; 0 examples: all."""
    request = pb.EvaluateRobustnessRequest(
        model_name=model,
        model_version=version,
        method=method,
        epsilons_linf=epsilons_linf,
        max_examples=max_examples,
        render=render,
    )
    response = yield Call(_METHODS["EvaluateRobustness"], request, timeout_s)
    return Robustness(
        model=identity(response),
        method=response.method,
        epsilons_linf=np.array(response.epsilons_linf),
        accuracies=np.array(response.accuracies),
        examples=response.examples,
        units=response.units,
        pictures=pictures(response),
    )
