"""What requests on the wire ask, in the words of the methods. Only translation."""

from __future__ import annotations

from services.explanation.arrays import Array
from services.explanation.attack import AttackQuery
from services.explanation.attacks.ball import Norm
from services.explanation.explain import ExplainQuery
from services.explanation.methods import attack_method, attribution
from services.explanation.parameters import settle
from services.explanation.regions import EVERYWHERE, PREDICTED, Region
from wintergarden.errors import InvalidArgument, InvalidTensor
from wintergarden.wire import explanation_pb2 as pb
from wintergarden.wire import tensors


def explain_query(request: pb.ExplainRequest, rows: Array | None = None) -> ExplainQuery:
    """What an explanation asks; `rows` in place of the request's input."""
    method = attribution(request.method)
    return ExplainQuery(
        rows=_input(request) if rows is None else rows,
        input_name=request.input.name,
        targets=tuple(request.targets),
        output_name=request.output_name,
        players=_players(request),
        background=_background(request),
        background_summary=request.background_summary,
        max_evaluations=request.max_evaluations,
        seed=request.seed,
        parameters=settle(method.name, method.parameters, request.parameters),
        layer=request.layer,
        region=_region(request),
        context={t.name: tensors.from_message(t, "context") for t in request.context},
    )


def attack_query(request: pb.AttackRequest, rows: Array | None = None) -> AttackQuery:
    """What an attack asks; `rows` in place of the request's input."""
    method = attack_method(request.method)
    return AttackQuery(
        rows=_input(request) if rows is None else rows,
        epsilon=request.epsilon,
        input_name=request.input.name,
        labels=tuple(request.labels),
        targets=tuple(request.targets),
        value_range=tuple(request.value_range),
        output_name=request.output_name,
        norm=norm_of(request),
        changeable=_changeable(request),
        one_of=tuple(tuple(group.columns) for group in request.one_of),
        parameters=settle(method.name, method.parameters, request.parameters),
    )


def norm_of(request: pb.AttackRequest | pb.EvaluateRobustnessRequest) -> Norm:
    """What the request says, else what the method measures first.

    Raises:
        InvalidArgument: a norm that the method does not measure.
    """
    method = attack_method(request.method)
    norms = method.perturb.norms
    for norm in norms:
        if norm == (request.norm or norms[0]):
            return norm
    raise InvalidArgument(
        f"norm '{request.norm}'; norms of {method.name} are {', '.join(norms)}", "norm"
    )


def _changeable(request: pb.AttackRequest) -> Array | None:
    if not request.HasField("changeable"):
        return None
    mask = tensors.from_message(request.changeable, "changeable")
    if mask.dtype != bool:
        raise InvalidTensor(f"changeable must be BOOL, got {mask.dtype}", "changeable")
    return mask


def _input(request: pb.ExplainRequest | pb.AttackRequest) -> Array:
    if not request.HasField("input"):
        raise InvalidTensor("the request has no input", "input")
    return tensors.from_message(request.input, "input")


def _background(request: pb.ExplainRequest) -> Array | None:
    if not request.HasField("background"):
        return None
    return tensors.from_message(request.background, "background")


def _region(request: pb.ExplainRequest) -> Region:
    chosen = request.region.WhichOneof("region")
    if chosen in (EVERYWHERE, PREDICTED):
        if not getattr(request.region, chosen):
            raise InvalidArgument(f"region.{chosen} is false; leave it out for the default")
        return str(chosen)
    if chosen == "box":
        begin, end = request.region.box.begin, request.region.box.end
        if len(begin) != len(end):
            raise InvalidArgument(
                f"region.box begins at {len(begin)} axes and ends at {len(end)}", "region"
            )
        return tuple(zip(begin, end, strict=True))
    if chosen == "mask":
        return tensors.from_message(request.region.mask, "region")
    return ""


def _players(request: pb.ExplainRequest) -> str | tuple[int, int] | Array:
    chosen = request.players.WhichOneof("players")
    if chosen == "grid":
        return (request.players.grid.rows, request.players.grid.columns)
    if chosen == "feature_mask":
        return tensors.from_message(request.players.feature_mask, "feature mask")
    if chosen == "features" and not request.players.features:
        raise InvalidArgument("players.features is false; leave players out for the default")
    return chosen or ""
