"""Imports ONNX Runtime, once, silently and without its telemetry."""

from __future__ import annotations

import os
from functools import cache
from typing import Any

from wintergarden.errors import FailedPrecondition

FATAL = 4  # ONNX Runtime's log severities run from 0, verbose, to 4


@cache
def onnxruntime() -> Any:
    """The module, with its default logger silenced: what matters reaches us as exceptions.

    Since 1.29 it sends what it sees of sessions and models to Microsoft and keeps a data base in
    the home directory, unless this variable says otherwise when it is imported
    (onnxruntime#27379). Whoever wants that sets it to 0.

    Raises:
        FailedPrecondition: it is not installed.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime as module
    except ImportError as error:
        raise FailedPrecondition(
            f"ONNX Runtime cannot be imported ({error}); install wintergarden[cpu], or "
            "wintergarden[gpu] on a machine with an NVIDIA GPU"
        ) from error
    module.set_default_logger_severity(FATAL)
    return module
