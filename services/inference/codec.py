"""ModelInfer messages to arrays and back, held to the model's signature.

https://github.com/kserve/open-inference-protocol and Triton's `grpc_service.proto` say what is
allowed. One choice is ours: an answer always uses raw contents, since tritonclient reads nothing
else.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from services.inference.classification import classify
from services.inference.request_parameters import (
    DEFAULTS,
    Place,
    read_classes,
    read_options,
    read_place,
    write_options,
    write_place,
)
from services.inference.scheduling import Array, SequenceControl
from services.inference.shared_memory import OFF, Region, Regions
from services.inference.signature import Signature, describe
from wintergarden.errors import InvalidArgument, Unsupported
from wintergarden.wire import open_inference_pb2 as pb
from wintergarden.wire import tensors

_MAX_SHAPES = 1024
# Tags of ModelInferResponse's fields `id` and `raw_output_contents`, as they are serialised.
_ID = b"\x1a"
_RAW = b"\x32"
# Tag of ModelStreamInferResponse's field `infer_response`.
_IN_STREAM = b"\x12"
# What lies otherwise in memory than on the wire, or is foreign to Python's buffers.
_CONVERTED = ("BYTES", "BF16")


@dataclass(slots=True)
class Destination:
    """Where in shared memory an output goes."""

    region: Region
    place: Place


Forms = Mapping[int, int | Destination]
_AS_THEY_ARE: Forms = MappingProxyType({})


@dataclass(slots=True)
class Asked:
    """A request as the model sees it.

    Attributes:
        feeds: one for each input in the model's order, None where an optional one is left out;
            read-only views of the request's bytes.
        outputs: positions of those to answer with, in the order asked for.
        forms: by position, what becomes of an output that does not go into the message as it is:
            how many of its classes to name, or where in shared memory to put it.
        priority: see `scheduling.Request`.
        timeout_us: see there.
        sequence: see there.
        wants_empty_final: the last answer of a decoupled model may come without outputs.
    """

    feeds: list[Array | None]
    outputs: tuple[int, ...]
    forms: Forms
    priority: int = 0
    timeout_us: int = 0
    sequence: SequenceControl | None = None
    wants_empty_final: bool = False


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
        outputs, forms = signature.all_outputs, _AS_THEY_ARE
    options = read_options(request.parameters) if request.parameters else DEFAULTS
    return Asked(feeds, outputs, forms, *options)


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
            raise signature.invalid(name, "has contents beside raw_input_contents; use one of them")
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


class ResponseWriter:
    """Writes the answers of one model version.

    All but the id and the values is the same for every answer of the same shapes. A serialised
    message is its fields one after the other, in any order
    (https://protobuf.dev/programming-guides/encoding/#order), so what is the same is serialised
    once, and the values are copied once, from the arrays into the answer.
    """

    def __init__(self, signature: Signature) -> None:
        self._signature = signature
        self._converted = {
            i for i, spec in enumerate(signature.outputs) if spec.datatype in _CONVERTED
        }
        # What comes before the values of each output.
        self._heads: dict[Hashable, list[bytes]] = {}

    def write(
        self,
        request_id: str,
        asked: Asked,
        outputs: Sequence[Array],
        *,
        parameters: Mapping[str, bool | int | float | str] | None = None,
    ) -> bytes:
        """One answer to a request.

        Args:
            request_id: as the caller gave it.
            asked: the request.
            outputs: the request's rows of every output of the model; none for the empty final
                answer of a decoupled model.
            parameters: of the answer.

        Raises:
            InvalidArgument: an output cannot take the form that was asked for.
            Overloaded: the memory that a client shares has no room.
        """
        if parameters or asked.forms or not outputs:
            return self._write_with_care(request_id, asked, outputs, parameters)
        wanted = asked.outputs
        key = (wanted, *[output.shape for output in outputs])
        heads = self._heads.get(key) or self._remember(key, wanted, outputs)
        parts: list[bytes | Array] = []
        for head, i in zip(heads, wanted, strict=True):
            if i in self._converted:
                content = tensors.encode(outputs[i])
                parts += (head, _varint(len(content)), content)
            else:
                parts += (head, outputs[i])
        if request_id:
            encoded = request_id.encode()
            parts += (_ID, _varint(len(encoded)), encoded)
        try:
            return b"".join(parts)  # type: ignore[arg-type]  # arrays are buffers
        except TypeError:  # not contiguous
            return b"".join(p if isinstance(p, bytes) else p.tobytes() for p in parts)

    def _remember(
        self, key: Hashable, wanted: Sequence[int], outputs: Sequence[Array]
    ) -> list[bytes]:
        start = pb.ModelInferResponse(
            model_name=self._signature.model, model_version=self._signature.version
        )
        for i in wanted:
            spec = self._signature.outputs[i]
            start.outputs.add(name=spec.name, datatype=spec.datatype, shape=outputs[i].shape)
        heads = [
            _RAW if i in self._converted else _RAW + _varint(outputs[i].nbytes) for i in wanted
        ]
        heads[0] = start.SerializeToString() + heads[0]
        if len(self._heads) >= _MAX_SHAPES:
            self._heads.clear()  # shapes without end, such as texts of every length
        self._heads[key] = heads
        return heads

    def _write_with_care(
        self,
        request_id: str,
        asked: Asked,
        outputs: Sequence[Array],
        parameters: Mapping[str, bool | int | float | str] | None,
    ) -> bytes:
        signature = self._signature
        response = pb.ModelInferResponse(
            model_name=signature.model, model_version=signature.version, id=request_id
        )
        write_options(response.parameters, parameters or {})
        for i in asked.outputs if outputs else ():
            spec, array, form = signature.outputs[i], outputs[i], asked.forms.get(i)
            datatype, shape, content = spec.datatype, array.shape, b""
            output = response.outputs.add(name=spec.name)
            if isinstance(form, Destination):
                write_place(output.parameters, self._place(spec.name, form, array))
            elif form:
                has_rows = signature.is_rowwise or spec.shape[:1] == (-1,)
                labels = signature.labels.get(spec.name, ())
                array = classify(array, form, labels, has_rows=has_rows)
                datatype, shape, content = "BYTES", array.shape, tensors.encode(array)
            else:
                content = tensors.encode(array)
            output.datatype = datatype
            output.shape.extend(shape)
            # Empty for an output in shared memory: clients count outputs and contents together.
            response.raw_output_contents.append(content)
        return bytes(response.SerializeToString())

    def _place(self, name: str, destination: Destination, array: Array) -> Place:
        """Puts an output into shared memory and says where it is now."""
        place = destination.place
        content = tensors.encode(array)
        if len(content) > place.byte_size:
            raise self._signature.invalid(
                name,
                f"{len(content)} bytes do not fit into the {place.byte_size} bytes of shared "
                "memory that the request gives it",
                "output",
            )
        destination.region.write(place.offset, content)
        return place._replace(byte_size=len(content))


def in_stream(response: bytes) -> bytes:
    """A serialised ModelInferResponse as the content of a ModelStreamInferResponse."""
    return _IN_STREAM + _varint(len(response)) + response


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


def _miscounted(request: pb.ModelInferRequest, signature: Signature) -> InvalidArgument:
    inputs = sum("shared_memory_region" not in tensor.parameters for tensor in request.inputs)
    return InvalidArgument(
        f"{signature.label}: {len(request.raw_input_contents)} raw_input_contents for {inputs} "
        "inputs outside shared memory; each of them needs one, in the same order",
        field="raw_input_contents",
    )


def _varint(value: int) -> bytes:
    """https://protobuf.dev/programming-guides/encoding/#varints"""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
