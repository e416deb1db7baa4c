"""Explanations of the very file that is served."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

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
from wintergarden.client.call import Call, Flow, bounded
from wintergarden.client.regions import Region, region_message
from wintergarden.client.rows import context_for, numbers_for, rows_for
from wintergarden.errors import InvalidArgument
from wintergarden.wire import explanation_pb2 as pb
from wintergarden.wire import tensors
from wintergarden.wire.pool import methods

_METHODS = methods("wintergarden.v1.ExplanationService")

# "features": every element is a player. (rows, columns): rectangular superpixels of an image.
# An integer array of the input's shape without N: element to player.
Players: TypeAlias = Literal["features"] | tuple[int, int] | Array


@dataclass(frozen=True)
class Parameter:
    """A number that a method can be tuned by, from `least` to `most`."""

    name: str
    default: float
    least: float
    most: float
    is_whole: bool
    summary: str


@dataclass(frozen=True)
class Method:
    """`kind` is attribution or attack; `source` names the paper."""

    name: str
    kind: str
    summary: str
    needs_gradient: bool
    source: str
    parameters: tuple[Parameter, ...] = ()


@dataclass(frozen=True, eq=False)
class Explanation:
    """How much each part of the input moved the output away from the background's.

    `base_values` + sum of `player_values` + `efficiency_gaps` = `outputs`, per row.

    Shape:
        attributions: the input's, float64; a superpixel's value stands at each of its pixels.
        player_values, standard_errors: (N, players); empty for gradients, zeros where exact.
        targets, base_values, outputs, efficiency_gaps: (N,).
        regions: (N, places), bool: where an output that has places was explained; else empty.
    """

    model: ModelIdentity
    method: str
    output_name: str
    output_space: str
    attributions: Array
    player_values: Array
    standard_errors: Array
    targets: tuple[int, ...]
    base_values: Array
    outputs: Array
    efficiency_gaps: Array
    evaluations: int
    seed: int
    is_exact: bool
    background: str
    pictures: tuple[Picture, ...]
    regions: Array = field(default_factory=lambda: np.empty(0))


def list_methods() -> Flow[list[Method]]:
    """The explanation and attack methods the server has."""
    response = yield Call(_METHODS["ListMethods"], pb.ListMethodsRequest())
    return [
        Method(
            m.name,
            m.kind,
            m.summary,
            m.needs_gradient,
            m.source,
            tuple(
                Parameter(p.name, p.default_value, p.least, p.most, p.whole, p.summary)
                for p in m.parameters
            ),
        )
        for m in response.methods
    ]


@bounded
def explain(
    model: str,
    inputs: npt.ArrayLike,
    method: str = "kernel_shap",
    *,
    version: int = 0,
    targets: Sequence[int] = (),
    players: Players | None = None,
    background: npt.ArrayLike | None = None,
    background_summary: Literal["", "mean", "sample"] = "",
    max_evaluations: int = 0,
    output_name: str = "",
    seed: int = 0,
    parameters: Mapping[str, float] | None = None,
    layer: str = "",
    region: Region | None = None,
    input_name: str = "",
    context: Mapping[str, npt.ArrayLike] | None = None,
    render: bool = False,
    timeout_s: float = 300.0,
) -> Flow[Explanation]:
    """Attribute a model's output to parts of its input.

    Args:
        model: its name.
        inputs: (N, …), one row per instance, in the units the model takes; or texts, where the
            model has a vocabulary.
        method: `list_methods` lists them.
        version: 0 is the latest.
        targets: the explained output's index, one per row or one for all; default: the predicted.
        players: what gets a value; default: features for tables, a 7 × 7 grid for images.
        background: (M, …), what "absent" means; default: the model's own background sample.
        background_summary: "mean" makes one baseline of the background, "sample" averages the
            model over its rows; default: mean for images, sample for tables.
        max_evaluations: model rows per explained row; 0: the server's default.
        output_name: default: logits, or the value of a regression.
        seed: of the sampling.
        parameters: of the method; `list_methods` tells them.
        layer: inner tensor that grad_cam and the conductances look at; default: what the last
            convolution becomes.
        region: of an output with a place for each pixel or position, the places whose mean is
            explained: "everywhere", "predicted" (where the target is), a box or a mask; default:
            "predicted" for pictures, the last position for sequences.
        input_name: of several inputs the one that `inputs` are; default: the first.
        context: of several inputs all the others, (N, …) each.
        render: also return pictures.
        timeout_s: for the answer, retries included.
    """
    request = explain_request(
        model,
        (yield from rows_for(model, inputs, version=version, name=input_name)),
        method,
        version=version,
        targets=targets,
        players=players,
        background=(yield from numbers_for(model, background, version=version, name=input_name)),
        background_summary=background_summary,
        max_evaluations=max_evaluations,
        output_name=output_name,
        seed=seed,
        parameters=parameters,
        layer=layer,
        region=region,
        input_name=input_name,
        context=(yield from context_for(model, context, version=version)),
        render=render,
    )
    response = yield Call(_METHODS["Explain"], request, timeout_s)
    return Explanation(
        model=identity(response),
        method=response.method,
        output_name=response.output_name,
        output_space=response.output_space,
        attributions=as_array(response.attributions),
        player_values=as_array(response.player_values),
        standard_errors=as_array(response.standard_errors),
        targets=tuple(response.targets),
        base_values=np.array(response.base_values),
        outputs=np.array(response.outputs),
        efficiency_gaps=np.array(response.efficiency_gaps),
        evaluations=response.evaluations,
        seed=response.seed,
        is_exact=response.exact,
        background=response.background,
        pictures=pictures(response),
        regions=as_array(response.regions),
    )


def explain_request(
    model: str,
    inputs: npt.ArrayLike | None,
    method: str,
    *,
    version: int = 0,
    targets: Sequence[int] = (),
    players: Players | None = None,
    background: npt.ArrayLike | None = None,
    background_summary: str = "",
    max_evaluations: int = 0,
    output_name: str = "",
    seed: int = 0,
    parameters: Mapping[str, float] | None = None,
    layer: str = "",
    region: Region | None = None,
    input_name: str = "",
    context: Mapping[str, npt.ArrayLike] | None = None,
    render: bool = False,
) -> pb.ExplainRequest:
    """The message of `explain`; without inputs where examples of the model's own are meant."""
    request = pb.ExplainRequest(
        model_name=model,
        model_version=version,
        method=method,
        targets=targets,
        output_name=output_name,
        background_summary=background_summary,
        max_evaluations=max_evaluations,
        seed=seed,
        parameters=parameters or {},
        layer=layer,
        render=render,
    )
    match players:
        case None:
            pass
        case np.ndarray():
            request.players.feature_mask.CopyFrom(tensors.to_message("", players.astype(np.int64)))
        case tuple((int(), int())):
            request.players.grid.rows, request.players.grid.columns = players
        case "features":
            request.players.features = True
        case _:
            raise InvalidArgument(
                f"players {players!r:.80}: want 'features', (rows, columns), or an array of the "
                "input's shape without N that gives each element its player",
                "players",
            )
    if region is not None:
        request.region.CopyFrom(region_message(region))
    if background is not None:
        request.background.CopyFrom(as_tensor(background))
    if inputs is not None:
        request.input.CopyFrom(as_tensor(inputs))
    if input_name:  # of examples too, which come without rows
        request.input.name = input_name
    for name, rows in (context or {}).items():
        tensor = as_tensor(rows)
        tensor.name = name
        request.context.append(tensor)
    return request
