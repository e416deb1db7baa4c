"""Named arrays in a .npz file, without pickle and without trust in what the file says."""

from __future__ import annotations

import io
import math
import struct
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from tokenize import TokenError
from typing import Any

import numpy as np

from wintergarden.errors import DataLoss, InvalidArgument

Array = np.ndarray[Any, np.dtype[Any]]

# What zipfile, zlib and numpy's header parser raise over bytes that are not theirs.
_UNREADABLE = (
    ValueError,
    OSError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    SyntaxError,
    OverflowError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


def pack(arrays: Mapping[str, Array]) -> bytes:
    """The same bytes for the same arrays; text must be `str`.

    Raises:
        InvalidArgument: an array of arbitrary objects.
    """
    plain = {}
    for name, array in arrays.items():
        if array.dtype.kind == "O":
            elements = array.reshape(-1).tolist()
            if not all(isinstance(element, str) for element in elements):
                raise InvalidArgument(f"array {name!r} holds objects that are no text")
            array = np.array(elements, np.str_).reshape(array.shape)  # noqa: PLW2901
        plain[name] = array
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in plain.items():
            member = zipfile.ZipInfo(f"{name}.npy")  # its default date, so that bytes are stable
            member.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(member, "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asarray(array, order="C"), allow_pickle=False)
    return buffer.getvalue()


def save(path: Path, arrays: Mapping[str, Array]) -> None:
    """Writes what `unpack` reads, not compressed: the same bytes for the same arrays everywhere.

    Args:
        path: of the file.
        arrays: of numbers.
    """
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            member = zipfile.ZipInfo(f"{name}.npy")  # its default date, so that bytes are stable
            with archive.open(member, "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asarray(array, order="C"), allow_pickle=False)


def unpack(source: Path | bytes, limit: int) -> dict[str, Array]:
    """Reads what `pack` wrote.

    Args:
        source: the file or its content.
        limit: of the bytes that the arrays take together.

    Raises:
        DataLoss: it is no such file, or larger.
    """
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    label = "the archive" if isinstance(source, bytes) else source.name
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            size = sum(member.file_size for member in members)
            if size > limit:
                raise DataLoss(f"{label} unpacks to {size} bytes; at most {limit} are allowed")
            return {m.filename.removesuffix(".npy"): parse_array(archive.read(m)) for m in members}
    except _UNREADABLE as error:
        raise DataLoss(f"{label} is no archive of arrays: {error}") from error


def parse_array(content: bytes) -> Array:
    """The array of an `.npy` file; np.load would allocate whatever the header claims.

    Raises:
        ValueError: it is no such file, or one of Python objects, or its header lies.
    """
    stream = io.BytesIO(content)
    if np.lib.format.read_magic(stream) != (1, 0):
        raise ValueError("an array's header is longer than an array of numbers or text needs")
    try:
        shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(stream)
    except (SyntaxError, TokenError, TypeError, struct.error) as error:
        raise ValueError(f"an array's header cannot be read: {type(error).__name__}") from error
    if dtype.hasobject:
        raise ValueError("an array holds objects")
    if len(content) - stream.tell() != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"an array's header says {shape} of {dtype}, its bytes say otherwise")
    array: Array = np.frombuffer(content, dtype, offset=stream.tell())
    return array.reshape(shape, order="F" if is_fortran else "C")
