"""Attacks on the very file that is served."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from wintergarden.client.answers import (
    Array,
    ModelIdentity,
    Picture,
    as_array,
    as_tensor,
    identity,
    identity_of,
    pictures,
)
from wintergarden.client.call import Call, Flow, bounded
from wintergarden.client.rows import rows_for
from wintergarden.wire import explanation_pb2 as pb
from wintergarden.wire.pool import methods

Norm = Literal["linf", "l2", "l0"]

_METHODS = methods("wintergarden.v1.ExplanationService")


@dataclass(frozen=True, eq=False)
class Attack:
    """Adversarial examples.

    At most `epsilon` from the input in the `norm` ("linf", "l2" or "l0"), in `units`; an `epsilon`
    of 0 where the method looks for the smallest change. `output_name` are the logits that were
    attacked; `queries` and `gradients` say how often the model and its gradient were run;
    `distances_l0` how many elements are others, or tokens, or groups of columns.

    Shape:
        adversarial: the input's.
        distances_linf, distances_l2: (N,); of tokens (0,), for their numbers are names.
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
    distances_l2: Array
    distances_l0: Array
    queries: Array
    gradients: Array
    successes: tuple[bool, ...]
    epsilon: float
    norm: str
    units: str
    value_range: tuple[float, float] | None
    pictures: tuple[Picture, ...]


@dataclass(frozen=True, eq=False)
class Robustness:
    """Accuracy under attack, `accuracies[i]` at radius `epsilons[i]`.

    `accuracies_beside` are those of the other model `beside`, where one was named.
    """

    model: ModelIdentity
    method: str
    epsilons: Array
    accuracies: Array
    examples: int
    norm: str
    units: str
    pictures: tuple[Picture, ...]
    beside: ModelIdentity | None = None
    accuracies_beside: Array | None = None


@bounded
def attack(
    model: str,
    inputs: npt.ArrayLike,
    method: str = "fgsm",
    *,
    epsilon: float = 0.0,
    norm: Norm | None = None,
    changeable: npt.ArrayLike | None = None,
    one_of: Sequence[Sequence[int]] = (),
    parameters: Mapping[str, float] | None = None,
    version: int = 0,
    labels: Sequence[int] = (),
    targets: Sequence[int] = (),
    value_range: tuple[float, float] | None = None,
    output_name: str = "",
    render: bool = False,
    timeout_s: float = 300.0,
) -> Flow[Attack]:
    """Change the input as little as `epsilon` allows, or at all, so that the model errs.

    Args:
        model: its name.
        inputs: (N, …), in the units the model takes; or texts.
        method: `list_methods` lists them.
        epsilon: the largest change, in the input's own units; none for a method that looks for
            the smallest.
        norm: what epsilon measures: each element ("linf"), the row's length ("l2"), or how many
            tokens or groups are others ("l0"); default: "linf", of a method that flips "l0".
        changeable: bool, the shape of one row; elements that may change; default: all.
        one_of: groups of columns of a table of which one is 1 and the others are 0: "hotflip"
            moves the one, all other methods leave them alone.
        parameters: of the method; `list_methods` tells them.
        version: 0 is the latest.
        labels: the true classes; default: the predicted.
        targets: the classes the model shall see instead, one per row or one for all; default:
            any other.
        value_range: lowest and highest valid value; default: the model's manifest's.
        output_name: of the logits; default: as the manifest says.
        render: also return pictures.
        timeout_s: for the answer, retries included.
    """
    request = attack_request(
        model,
        (yield from rows_for(model, inputs, version=version)),
        method,
        epsilon=epsilon,
        norm=norm,
        changeable=changeable,
        one_of=one_of,
        parameters=parameters,
        version=version,
        labels=labels,
        targets=targets,
        value_range=value_range,
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
        distances_l2=np.array(response.distances_l2),
        distances_l0=np.array(response.distances_l0),
        queries=np.array(response.queries),
        gradients=np.array(response.gradients),
        successes=tuple(response.successes),
        epsilon=response.epsilon,
        norm=response.norm,
        units=response.units,
        value_range=(low_high[0], low_high[1]) if len(low_high) == 2 else None,
        pictures=pictures(response),
    )


def attack_request(
    model: str,
    inputs: npt.ArrayLike | None,
    method: str,
    *,
    epsilon: float = 0.0,
    norm: Norm | None = None,
    changeable: npt.ArrayLike | None = None,
    one_of: Sequence[Sequence[int]] = (),
    parameters: Mapping[str, float] | None = None,
    version: int = 0,
    labels: Sequence[int] = (),
    targets: Sequence[int] = (),
    value_range: tuple[float, float] | None = None,
    output_name: str = "",
    render: bool = False,
) -> pb.AttackRequest:
    """The message of `attack`; without inputs where examples of the model's own are meant."""
    request = pb.AttackRequest(
        model_name=model,
        model_version=version,
        method=method,
        labels=labels,
        targets=targets,
        epsilon=epsilon,
        norm=norm or "",
        one_of=[pb.AttackRequest.Group(columns=group) for group in one_of],
        parameters=parameters or {},
        value_range=value_range or (),
        output_name=output_name,
        render=render,
    )
    if inputs is not None:
        request.input.CopyFrom(as_tensor(inputs))
    if changeable is not None:
        request.changeable.CopyFrom(as_tensor(np.asarray(changeable, bool)))
    return request


def robustness(
    model: str,
    method: str = "fgsm",
    *,
    epsilons: Sequence[float] = (),
    norm: Norm | None = None,
    parameters: Mapping[str, float] | None = None,
    version: int = 0,
    max_examples: int = 0,
    beside: str = "",
    render: bool = False,
    timeout_s: float = 600.0,
) -> Flow[Robustness]:
    """Accuracy against epsilon over the model's own held-out examples; 0 examples: all.

    `beside` names another model to be attacked over the same examples in the same way.
    """
    request = pb.EvaluateRobustnessRequest(
        model_name=model,
        model_version=version,
        method=method,
        epsilons=epsilons,
        norm=norm or "",
        parameters=parameters or {},
        max_examples=max_examples,
        beside=beside,
        render=render,
    )
    response = yield Call(_METHODS["EvaluateRobustness"], request, timeout_s)
    return Robustness(
        model=identity(response),
        method=response.method,
        epsilons=np.array(response.epsilons),
        accuracies=np.array(response.accuracies),
        examples=response.examples,
        norm=response.norm,
        units=response.units,
        pictures=pictures(response),
        beside=identity_of(response.beside) if beside else None,
        accuracies_beside=np.array(response.accuracies_beside) if beside else None,
    )
