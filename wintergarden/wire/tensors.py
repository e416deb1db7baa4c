"""The tensor codec of the Open Inference Protocol: numpy on one side, bytes on the other.

Raw contents are row-major little-endian; BYTES elements are `<u32 length><bytes>`. Decoding copies
nothing (the array is a read-only view of the message's bytes), believes nothing the sender says
(datatype, shape and byte count must agree) and raises `InvalidTensor` only.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

from wintergarden.errors import InvalidTensor
from wintergarden.wire import open_inference_pb2 as pb
from wintergarden.wire import tensor_pb2

Array = np.ndarray[Any, np.dtype[Any]]

# BF16 is not here, because numpy has no such type: ask `dtype_of`.
DATATYPES: dict[str, np.dtype[Any]] = {
    "BOOL": np.dtype("?"),
    "INT8": np.dtype("<i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "UINT8": np.dtype("<u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
    "BYTES": np.dtype(object),
}

# Where InferTensorContents keeps each datatype; FP16 and BF16 travel raw only.
_CONTENTS_FIELD = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}

_NAMES = {dtype: name for name, dtype in DATATYPES.items()}
_LENGTH = struct.Struct("<I")
_MAX_DIMENSIONS = 64  # numpy's own limit
_MAX_BYTES = 2**63 - 1


def dtype_of(datatype: str, name: str = "", kind: str = "input") -> np.dtype[Any]:
    """The numpy type of a datatype of the protocol; BYTES is `object`.

    BF16 needs the package `ml_dtypes`, which comes with `onnx`.
    """
    dtype = DATATYPES.get(datatype)
    if dtype is not None:
        return dtype
    if datatype == "BF16":
        try:
            import ml_dtypes
        except ImportError:
            raise _invalid(
                name, kind, "BF16 is not installed here (package ml_dtypes); send FP16 or FP32"
            ) from None
        bfloat16: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
        return bfloat16
    raise _invalid(
        name,
        kind,
        f"datatype {datatype!r:.40} is unknown; allowed are {', '.join(DATATYPES)}, BF16",
    )


def datatype_of(dtype: np.dtype[Any]) -> str:
    """The protocol's name for a numpy type, whatever its byte order; text and objects are BYTES."""
    found = _NAMES.get(dtype)
    if found is not None:
        return found
    if dtype.kind in "SU":
        return "BYTES"
    if dtype.name == "bfloat16":
        return "BF16"
    found = _NAMES.get(dtype.newbyteorder("<"))
    if found is not None:
        return found
    raise InvalidTensor(
        f"numpy type {dtype} has no datatype on the wire; allowed are {', '.join(DATATYPES)}, BF16"
    )


def encode(array: Array) -> bytes:
    """Raw contents of an array of any layout; text becomes UTF-8."""
    datatype = datatype_of(array.dtype)
    if datatype == "BYTES":
        return _encode_bytes(array)
    if array.dtype.byteorder == ">":
        array = array.astype(array.dtype.newbyteorder("<"))
    return array.tobytes()


def decode(
    raw: bytes | memoryview,
    datatype: str,
    shape: Sequence[int],
    name: str = "",
    kind: str = "input",
) -> Array:
    """Reads raw contents.

    Args:
        raw: exactly the tensor's bytes.
        datatype: as in the protocol, for example FP32.
        shape: no dimension may be negative; [] is a scalar.
        name: of the tensor, for the message of an error.
        kind: input or output, for the message of an error.

    Returns:
        A read-only array over `raw` itself; for BYTES an object array of `bytes`.

    Raises:
        InvalidTensor: datatype, shape and bytes do not agree.
    """
    dtype = DATATYPES.get(datatype) or dtype_of(datatype, name, kind)
    shape = tuple(shape)
    count = _element_count(shape, name, kind)
    if datatype == "BYTES":
        return _decode_bytes(raw, count, shape, name, kind)
    if len(raw) != count * dtype.itemsize:
        raise _invalid(
            name,
            kind,
            f"shape {list(shape)} of {datatype} needs {count * dtype.itemsize} bytes, "
            f"got {len(raw)}",
        )
    if isinstance(raw, memoryview):
        raw = raw.toreadonly()
    array: Array = np.ndarray(shape, dtype, raw)
    if datatype == "BOOL" and count and array.view(np.uint8).max() > 1:
        raise _invalid(name, kind, "a BOOL byte must be 0 or 1")
    return array


def from_contents(
    contents: pb.InferTensorContents,
    datatype: str,
    shape: Sequence[int],
    name: str = "",
    kind: str = "input",
) -> Array:
    """Reads typed contents, the protocol's other form; FP16 and BF16 have none.

    Raises:
        InvalidTensor: another field than the datatype's is filled, a value does not fit the
            datatype, or there are more or fewer values than the shape has.
    """
    dtype = dtype_of(datatype, name, kind)
    field = _CONTENTS_FIELD.get(datatype)
    if field is None:
        if contents.ByteSize() == 0 and 0 in shape:
            return np.empty(_checked(shape, name, kind), dtype)
        raise _invalid(name, kind, f"{datatype} travels in raw contents only")
    strangers = [f.name for f, _ in contents.ListFields() if f.name != field]
    if strangers:
        raise _invalid(name, kind, f"{datatype} belongs in {field}, got {', '.join(strangers)}")
    values = getattr(contents, field)
    shape = tuple(shape)
    count = _element_count(shape, name, kind)
    if len(values) != count:
        raise _invalid(
            name,
            kind,
            f"shape {list(shape)} of {datatype} needs {count} values in {field}, got {len(values)}",
        )
    if field in ("int_contents", "uint_contents"):
        return _narrow(values, datatype, name, kind).reshape(shape)
    array: Array = np.empty(count, dtype)
    array[:] = list(values)
    return array.reshape(shape)


def to_message(name: str, array: Array) -> tensor_pb2.Tensor:
    return tensor_pb2.Tensor(
        name=name, datatype=datatype_of(array.dtype), shape=array.shape, raw=encode(array)
    )


def from_message(tensor: tensor_pb2.Tensor, kind: str = "tensor") -> Array:
    return decode(tensor.raw, tensor.datatype, tensor.shape, tensor.name, kind)


def _invalid(name: str, kind: str, problem: str) -> InvalidTensor:
    return InvalidTensor(f"{kind} {name!r:.200}: {problem}", field=f"{kind}s.{name}")


def _element_count(shape: tuple[int, ...], name: str, kind: str) -> int:
    """The product of a shape that numpy can hold, even where one dimension is zero."""
    if shape and min(shape) < 0:
        raise _invalid(
            name, kind, f"shape {list(shape)[:_MAX_DIMENSIONS]} has a negative dimension"
        )
    if len(shape) > _MAX_DIMENSIONS:
        raise _invalid(
            name, kind, f"{len(shape)} dimensions; at most {_MAX_DIMENSIONS} are allowed"
        )
    count = math.prod(shape)
    extent = count or math.prod(dimension or 1 for dimension in shape)
    if extent > _MAX_BYTES // 16:
        raise _invalid(name, kind, f"shape {list(shape)} is larger than any memory")
    return count


def _checked(shape: Sequence[int], name: str, kind: str) -> tuple[int, ...]:
    shape = tuple(shape)
    _element_count(shape, name, kind)
    return shape


def _encode_bytes(array: Array) -> bytes:
    parts: list[bytes] = []
    for element in array.reshape(-1).tolist():
        if isinstance(element, str):
            content = element.encode()
        elif isinstance(element, bytes):
            content = element
        else:
            raise InvalidTensor(
                f"a BYTES element must be bytes or text, got {type(element).__name__}"
            )
        parts += (_LENGTH.pack(len(content)), content)
    return b"".join(parts)


def _decode_bytes(
    raw: bytes | memoryview, count: int, shape: tuple[int, ...], name: str, kind: str
) -> Array:
    if len(raw) < count * _LENGTH.size:  # before anything of that count is allocated
        raise _invalid(
            name,
            kind,
            f"shape {list(shape)} of BYTES needs at least {count * _LENGTH.size} bytes, "
            f"got {len(raw)}",
        )
    elements: Array = np.empty(count, object)
    offset = 0
    for index in range(count):
        start = offset + _LENGTH.size
        if start > len(raw):
            raise _invalid(name, kind, f"BYTES end before the length of element {index}")
        (length,) = _LENGTH.unpack_from(raw, offset)
        offset = start + length
        if offset > len(raw):
            raise _invalid(
                name,
                kind,
                f"element {index} of BYTES says {length} bytes, {len(raw) - start} are left",
            )
        elements[index] = bytes(raw[start:offset])
    if offset != len(raw):
        raise _invalid(
            name,
            kind,
            f"shape {list(shape)} of BYTES ends after {offset} bytes, got {len(raw)}",
        )
    return elements.reshape(shape)


def _narrow(values: Sequence[int], datatype: str, name: str, kind: str) -> Array:
    """32-bit contents as the narrower type they were declared to be."""
    wide = np.array(values, np.int64)
    dtype = DATATYPES[datatype]
    limits = np.iinfo(dtype)
    if wide.size and (wide.min() < limits.min or wide.max() > limits.max):
        raise _invalid(
            name,
            kind,
            f"{datatype} holds {limits.min} to {limits.max}, got {wide.min()} to {wide.max()}",
        )
    return wide.astype(dtype)
