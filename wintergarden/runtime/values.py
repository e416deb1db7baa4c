"""Runs of models with bfloat16, a type that ONNX Runtime does not give to numpy."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from wintergarden.errors import FailedPrecondition
from wintergarden.runtime.library import onnxruntime

Array = np.ndarray[Any, np.dtype[Any]]

_ONNX_BFLOAT16 = 16  # onnx.TensorProto.BFLOAT16


def run_with_values(
    inner: Any, run_options: Any, outputs: Sequence[str], feeds: Mapping[str, Array]
) -> list[Array]:
    """Runs an ONNX Runtime session on its own kind of tensors, which are never texts."""
    given = {name: _value(feed) for name, feed in feeds.items()}
    return [_array(value) for value in inner.run_with_ort_values(outputs, given, run_options)]


def run_with_bfloat16(
    inner: Any, run_options: Any, outputs: Sequence[str], feeds: Mapping[str, Array]
) -> list[Array]:
    """The same for a session without outputs of that type: the other inputs go in as they are."""
    given = {n: _value(f) if f.dtype.name == "bfloat16" else f for n, f in feeds.items()}
    results: list[Array] = inner.run(outputs, given, run_options)
    return results


def _value(array: Array) -> Any:
    make = onnxruntime().OrtValue
    if array.dtype.name == "bfloat16":
        bits = np.asarray(array.view(np.uint16), order="C")
        return make.ortvalue_from_numpy_with_onnx_type(bits, _ONNX_BFLOAT16)
    return make.ortvalue_from_numpy(np.asarray(array, order="C"))


def _array(value: Any) -> Array:
    if value.element_type() != _ONNX_BFLOAT16:
        array: Array = value.numpy()
        return array
    bfloat16, shape = bfloat16_type(), value.shape()
    if 0 in shape:
        return np.empty(shape, bfloat16)
    pointer = ctypes.cast(value.data_ptr(), ctypes.POINTER(ctypes.c_uint16))
    bits = np.ctypeslib.as_array(pointer, shape=(int(np.prod(shape)),))
    return bits.copy().view(bfloat16).reshape(shape)


def bfloat16_type() -> np.dtype[Any]:
    """The numpy type.

    Raises:
        FailedPrecondition: the package that has it is not installed.
    """
    try:
        import ml_dtypes
    except ImportError as error:
        raise FailedPrecondition(
            "BF16 needs the package ml_dtypes; install wintergarden[inference]"
        ) from error
    bfloat16: np.dtype[Any] = np.dtype(ml_dtypes.bfloat16)
    return bfloat16
