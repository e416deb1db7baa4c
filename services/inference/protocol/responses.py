"""Answers as ModelInferResponse messages, raw contents always: tritonclient reads no other."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Protocol

from services.inference.protocol.asked import Asked, Destination
from services.inference.protocol.classification import classify
from services.inference.protocol.request_parameters import Place, write_options, write_place
from services.inference.scheduling.scheduler import Array
from services.inference.signature import Signature
from wintergarden.errors import Cancelled
from wintergarden.wire import open_inference_pb2 as pb
from wintergarden.wire import tensors
from wintergarden.wire.varint import varint

_MAX_SHAPES = 1024
# Tags of ModelInferResponse's fields `id` and `raw_output_contents`, as they are serialised.
_ID = b"\x1a"
_RAW = b"\x32"
# Tag of ModelStreamInferResponse's field `infer_response`.
_IN_STREAM = b"\x12"
# What lies otherwise in memory than on the wire, or is foreign to Python's buffers.
_CONVERTED = ("BYTES", "BF16")


class Caller(Protocol):
    """Whoever waits for an answer; may have gone."""

    @property
    def is_cancelled(self) -> bool: ...


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
        caller: Caller | None = None,
    ) -> bytes:
        """One answer to a request.

        Args:
            request_id: as the caller gave it.
            asked: the request.
            outputs: the request's rows of every output of the model; none for the empty final
                answer of a decoupled model.
            parameters: of the answer.
            caller: who waits for it; one that has gone may use its shared memory for other things.

        Raises:
            Cancelled: an output was to go into the shared memory of a caller that has gone.
            InvalidArgument: an output cannot take the form that was asked for.
            Overloaded: the memory that a client shares has no room.
        """
        if asked.forms or not outputs:
            return self._write_with_care(request_id, asked, outputs, parameters, caller)
        wanted = asked.outputs
        told = tuple(parameters.items()) if parameters else ()
        key = (wanted, told, *[output.shape for output in outputs])
        heads = self._heads.get(key) or self._remember(key, wanted, outputs, parameters)
        parts: list[bytes | Array] = []
        for head, i in zip(heads, wanted, strict=True):
            if i in self._converted:
                content = tensors.encode(outputs[i])
                parts += (head, varint(len(content)), content)
            else:
                parts += (head, outputs[i])
        if request_id:
            encoded = request_id.encode()
            parts += (_ID, varint(len(encoded)), encoded)
        try:
            return b"".join(parts)  # type: ignore[arg-type]  # arrays are buffers
        except TypeError:  # not contiguous
            return b"".join(p if isinstance(p, bytes) else p.tobytes() for p in parts)

    def _remember(
        self,
        key: Hashable,
        wanted: Sequence[int],
        outputs: Sequence[Array],
        parameters: Mapping[str, bool | int | float | str] | None,
    ) -> list[bytes]:
        start = pb.ModelInferResponse(
            model_name=self._signature.model, model_version=self._signature.version
        )
        write_options(start.parameters, parameters or {})
        for i in wanted:
            spec = self._signature.outputs[i]
            start.outputs.add(name=spec.name, datatype=spec.datatype, shape=outputs[i].shape)
        heads = [_RAW if i in self._converted else _RAW + varint(outputs[i].nbytes) for i in wanted]
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
        caller: Caller | None,
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
                write_place(output.parameters, self._place(spec.name, form, array, caller))
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

    def _place(
        self, name: str, destination: Destination, array: Array, caller: Caller | None
    ) -> Place:
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
        if caller is not None and caller.is_cancelled:
            raise Cancelled("the caller has gone; nothing is put into its shared memory")
        destination.region.write(place.offset, content)
        return place._replace(byte_size=len(content))


def in_stream(response: bytes) -> bytes:
    """A serialised ModelInferResponse as the content of a ModelStreamInferResponse."""
    return _IN_STREAM + varint(len(response)) + response
