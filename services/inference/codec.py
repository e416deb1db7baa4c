"""ModelInfer messages to arrays and back, held to the model's signature.

https://github.com/kserve/open-inference-protocol and Triton's `grpc_service.proto` say what is
allowed. Two choices are ours: an answer always uses raw contents (tritonclient reads nothing
else), and a parameter that asks for something we do not do is refused, not ignored.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence

from services.inference.scheduling import Array
from services.inference.signature import Signature, describe
from wintergarden.errors import InvalidArgument, Unsupported
from wintergarden.wire import open_inference_pb2 as pb
from wintergarden.wire import tensors

_MAX_HEADS = 1024
_UNSUPPORTED = {
    "sequence_id": "sequences",
    "sequence_start": "sequences",
    "sequence_end": "sequences",
    "shared_memory_region": "shared memory",
    "classification": "the classification extension",
}


def read_inputs(request: pb.ModelInferRequest, signature: Signature) -> list[Array]:
    """The model's feeds, one for each input in the model's order.

    The arrays are read-only views of the request's bytes.

    Raises:
        InvalidArgument: an input is unknown, missing or given twice, has another datatype or
            shape than the model's, or not the bytes that its shape says.
        Unsupported: a parameter asks for an extension that is not served.
    """
    given = request.inputs
    raw = request.raw_input_contents
    if raw and len(raw) != len(given):
        raise InvalidArgument(
            f"{signature.label}: {len(raw)} raw_input_contents for {len(given)} inputs; "
            "each input needs one, in the same order",
            field="raw_input_contents",
        )
    if request.parameters:
        _refuse_unsupported(request.parameters, signature)
    feeds: dict[int, Array] = {}
    for i, tensor in enumerate(given):
        name, datatype, shape = tensor.name, tensor.datatype, tuple(tensor.shape)
        position = signature.input_positions.get(name)
        if position is None:
            raise signature.invalid(name, f"unknown; allowed are {describe(signature.inputs)}")
        spec = signature.inputs[position]
        if position in feeds:
            raise signature.invalid(name, "given twice")
        if datatype != spec.datatype:
            raise signature.invalid(name, f"datatype {datatype!r:.40}, needed is {spec.datatype}")
        if not _fits(shape, spec.shape):
            raise signature.invalid(
                name, f"shape {list(shape)[:16]}, needed is {list(spec.shape)} (-1: any size)"
            )
        if tensor.parameters:
            _refuse_unsupported(tensor.parameters, signature)
        if not raw:
            feeds[position] = tensors.from_contents(tensor.contents, datatype, shape, name)
        elif tensor.HasField("contents"):
            raise signature.invalid(name, "has contents beside raw_input_contents; use one of them")
        else:
            feeds[position] = tensors.decode(raw[i], datatype, shape, name)
    if len(feeds) != len(signature.inputs):
        missing = [s for i, s in enumerate(signature.inputs) if i not in feeds]
        raise signature.invalid(missing[0].name, f"missing; needed are {describe(missing)}")
    return [feeds[i] for i in range(len(feeds))]


def read_outputs(request: pb.ModelInferRequest, signature: Signature) -> Sequence[int]:
    """Positions of the outputs to answer with, in the order asked for; all when none is named.

    Raises:
        InvalidArgument: an output is unknown or named twice.
        Unsupported: a parameter asks for an extension that is not served.
    """
    if not request.outputs:
        return range(len(signature.outputs))
    wanted: list[int] = []
    for tensor in request.outputs:
        position = signature.output_positions.get(tensor.name)
        if position is None:
            allowed = describe(signature.outputs)
            raise signature.invalid(tensor.name, f"unknown; allowed are {allowed}", "output")
        if position in wanted:
            raise signature.invalid(tensor.name, "asked for twice", "output")
        if tensor.parameters:
            _refuse_unsupported(tensor.parameters, signature)
        wanted.append(position)
    return wanted


class ResponseWriter:
    """Writes the answers of one model version.

    All but the id and the values is the same for every answer of the same shapes. Serialised
    messages may be concatenated, which merges them
    (https://protobuf.dev/programming-guides/encoding/#last-one-wins), so that part is serialised
    once: for two outputs that halves the time of an answer.
    """

    def __init__(self, signature: Signature) -> None:
        self._signature = signature
        self._heads: dict[Hashable, bytes] = {}

    def write(self, request_id: str, wanted: Sequence[int], outputs: Sequence[Array]) -> bytes:
        """The answer to one request.

        Args:
            request_id: as the caller gave it.
            wanted: positions of the outputs to answer with.
            outputs: the request's rows of every output of the model.
        """
        key = (*wanted, *[output.shape for output in outputs])
        head = self._heads.get(key)
        if head is None:
            head = self._remember(key, wanted, outputs)
        rest = pb.ModelInferResponse(
            id=request_id, raw_output_contents=[tensors.encode(outputs[i]) for i in wanted]
        )
        return head + bytes(rest.SerializeToString())

    def _remember(self, key: Hashable, wanted: Sequence[int], outputs: Sequence[Array]) -> bytes:
        head = pb.ModelInferResponse(
            model_name=self._signature.model, model_version=self._signature.version
        )
        for i in wanted:
            spec = self._signature.outputs[i]
            head.outputs.add(name=spec.name, datatype=spec.datatype, shape=outputs[i].shape)
        if len(self._heads) >= _MAX_HEADS:
            self._heads.clear()  # shapes without end, such as texts of every length
        self._heads[key] = head.SerializeToString()
        return self._heads[key]


def _fits(shape: tuple[int, ...], allowed: tuple[int, ...]) -> bool:
    """Negative sizes are left for the decoder to refuse."""
    if len(shape) != len(allowed):
        return False
    for size, limit in zip(shape, allowed, strict=True):  # all() takes three times as long
        if size != limit and limit >= 0:
            return False
    return True


def _refuse_unsupported(parameters: Iterable[str], signature: Signature) -> None:
    for name in parameters:
        if name in _UNSUPPORTED:
            raise Unsupported(
                f"{signature.label}: parameter {name!r} needs {_UNSUPPORTED[name]}, "
                "which this server does not offer"
            )
