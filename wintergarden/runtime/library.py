"""Imports ONNX Runtime, once and silently."""

from __future__ import annotations

from functools import cache
from typing import Any

from wintergarden.errors import FailedPrecondition

FATAL = 4  # ONNX Runtime's log severities run from 0, verbose, to 4


@cache
def onnxruntime() -> Any:
    """The module, with its default logger silenced: what matters reaches us as exceptions.

    Raises:
        FailedPrecondition: it is not installed.
    """
    try:
        import onnxruntime as module
    except ImportError as error:
        raise FailedPrecondition(
            f"ONNX Runtime cannot be imported ({error}); install wintergarden[cpu], or "
            "wintergarden[gpu] on a machine with an NVIDIA GPU"
        ) from error
    module.set_default_logger_severity(FATAL)
    return module
