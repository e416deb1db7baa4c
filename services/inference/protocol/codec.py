"""ModelInfer requests to arrays, held to the model's signature.

https://github.com/kserve/open-inference-protocol and Triton's `grpc_service.proto` say what is
allowed.
"""

from __future__ import annotations

from collections.abc import Sequence

from services.inference.protocol.asked import AS_THEY_ARE, Asked, Destination, Forms
from services.inference.protocol.request_parameters import (
    DEFAULTS,
    read_classes,
    read_options,
    read_place,
)
from services.inference.protocol.shared_memory import OFF, Regions
from services.inference.scheduling.scheduler import Array
from services.inference.signature import Signature, describe
from wintergarden.errors import InvalidArgument, Unsupported
from wintergarden.wire import open_inference_pb2 as pb
from wintergarden.wire import tensors


def read(
    request: pb.ModelInferRequest, signature: Signature, regions: Regions | None = None
) -> Asked:
    """What a request asks of a model.

    Args:
        request: the message.
        signature: the model's.
        regions: registered shared memory; None where there is none to be had.

    Raises:
        InvalidArgument: an input or output is unknown or named twice; an input is missing, has
            another datatype or shape than the model's, or not the bytes that its shape says; a
            parameter is not what it must be.
        NotFound: no shared memory of that name is registered.
        Unsupported: shared memory is off.
    """
    feeds = _read_inputs(request, signature, regions)
    if request.outputs:
        outputs, forms = _read_outputs(request, signature, regions)
    else:
        outputs, forms = signature.all_outputs, AS_THEY_ARE
    options = read_options(request.parameters) if request.parameters else DEFAULTS
    return Asked(feeds, outputs, forms, *options, version=request.model_version)


def _read_inputs(
    request: pb.ModelInferRequest, signature: Signature, regions: Regions | None
) -> list[Array | None]:
    given = request.inputs
    raw = request.raw_input_contents
    feeds: list[Array | None] = [None] * len(signature.inputs)
    taken = 0
    for tensor in given:
        name, datatype, shape = tensor.name, tensor.datatype, tuple(tensor.shape)
        position = signature.input_positions.get(name)
        if position is None:
            raise signature.invalid(name, f"unknown; allowed are {describe(signature.inputs)}")
        if feeds[position] is not None:
            raise signature.invalid(name, "given twice")
        spec = signature.inputs[position]
        if datatype != spec.datatype:
            raise signature.invalid(name, f"datatype {datatype!r:.40}, needed is {spec.datatype}")
        if not _fits(shape, spec.shape):
            raise signature.invalid(
                name, f"shape {list(shape)[:16]}, needed is {list(spec.shape)} (-1: any size)"
            )
        place = read_place(tensor.parameters) if tensor.parameters else None
        if place is not None:
            if tensor.HasField("contents"):
                raise signature.invalid(name, "has contents beside shared memory; use one of them")
            content = _offered(regions).read(place.region, place.offset, place.byte_size)
            feeds[position] = tensors.decode(content, datatype, shape, name)
        elif not raw:
            feeds[position] = tensors.from_contents(tensor.contents, datatype, shape, name)
        elif tensor.HasField("contents"):
            raise _has_both(name, signature)
        elif taken == len(raw):
            raise _miscounted(request, signature)
        else:
            feeds[position] = tensors.decode(raw[taken], datatype, shape, name)
            taken += 1
    if taken != len(raw):
        raise _miscounted(request, signature)
    if len(given) != len(feeds):
        _check_complete(feeds, signature)
    return feeds


def _read_outputs(
    request: pb.ModelInferRequest, signature: Signature, regions: Regions | None
) -> tuple[tuple[int, ...], Forms]:
    wanted: list[int] = []
    forms: dict[int, int | Destination] = {}
    for tensor in request.outputs:
        name = tensor.name
        position = signature.output_positions.get(name)
        if position is None:
            allowed = describe(signature.outputs)
            raise signature.invalid(name, f"unknown; allowed are {allowed}", "output")
        if position in wanted:
            raise signature.invalid(name, "asked for twice", "output")
        wanted.append(position)
        if not tensor.parameters:
            continue
        classes = read_classes(tensor.parameters)
        place = read_place(tensor.parameters)
        if place is not None:
            if classes:
                raise signature.invalid(
                    name, "classification and shared memory exclude each other", "output"
                )
            region = _offered(regions).find(place.region, place.offset, place.byte_size)
            forms[position] = Destination(region, place)
        elif classes:
            forms[position] = classes
    return tuple(wanted), forms


def _fits(shape: tuple[int, ...], allowed: tuple[int, ...]) -> bool:
    """Negative sizes are left for the decoder to refuse."""
    if len(shape) != len(allowed):
        return False
    for size, limit in zip(shape, allowed, strict=True):  # all() takes three times as long
        if size != limit and limit >= 0:
            return False
    return True


def _offered(regions: Regions | None) -> Regions:
    if regions is None:
        raise Unsupported(OFF)
    return regions


def _check_complete(feeds: Sequence[Array | None], signature: Signature) -> None:
    missing = [
        spec
        for spec, feed in zip(signature.inputs, feeds, strict=True)
        if feed is None and not spec.is_optional
    ]
    if missing:
        raise signature.invalid(missing[0].name, f"missing; needed are {describe(missing)}")


def _has_both(name: str, signature: Signature) -> InvalidArgument:
    return signature.invalid(
        name,
        "contents field must not be specified when using raw_input_contents "  # Triton's words
        f"for {name!r:.200} for model {signature.model!r}",
    )


def _miscounted(request: pb.ModelInferRequest, signature: Signature) -> InvalidArgument:
    for tensor in request.inputs:
        if tensor.HasField("contents"):
            return _has_both(tensor.name, signature)
    inputs = sum("shared_memory_region" not in tensor.parameters for tensor in request.inputs)
    return InvalidArgument(
        f"{signature.label}: {len(request.raw_input_contents)} raw_input_contents for {inputs} "
        "inputs outside shared memory; each of them needs one, in the same order",
        field="raw_input_contents",
    )
