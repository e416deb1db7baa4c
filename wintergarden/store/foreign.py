"""ONNX files from elsewhere: hostile until proved otherwise."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from wintergarden.errors import InvalidArgument, Unsupported
from wintergarden.store import inspect_onnx
from wintergarden.store.manifest import ManifestFields, TensorInfo

MAX_MODEL_BYTES = 512 * 2**20
MAX_NODES = 100_000
TIMEOUT_S = 120.0
_MAX_ANSWER_BYTES = 4 * 2**20


def describe(
    content: bytes, class_labels: tuple[str, ...], value_range: tuple[float, float] | None
) -> ManifestFields:
    """What there is to say about a model that comes with nothing but its file.

    Raises:
        InvalidArgument: not a valid model, too large, or not of so many classes.
        Unsupported: it needs operators or inputs that we do not serve.
    """
    if len(content) > MAX_MODEL_BYTES:
        raise InvalidArgument(
            f"the model has {len(content)} bytes; at most {MAX_MODEL_BYTES} are allowed"
        )
    if value_range is not None and not -math.inf < value_range[0] < value_range[1] < math.inf:
        raise InvalidArgument(
            f"value_range must be two finite numbers, low below high; got {value_range}",
            field="value_range",
        )
    answer = _inspect(content)
    try:
        inputs = tuple(TensorInfo(**tensor) for tensor in answer["inputs"])
        outputs = tuple(TensorInfo(**tensor) for tensor in answer["outputs"])
        if value_range is not None:
            inputs = tuple(_with_range(tensor, value_range) for tensor in inputs)
        fields = ManifestFields(
            architecture="imported",
            task=_task(inputs, class_labels),
            inputs=inputs,
            outputs=outputs,
            class_labels=class_labels,
            preprocessing="unknown: the model was imported",
        )
    except (ValidationError, KeyError, TypeError) as error:
        raise InvalidArgument(f"the model cannot be described: {error}") from error
    widths = {tensor.shape[-1] for tensor in outputs if tensor.shape}
    if class_labels and -1 not in widths and len(class_labels) not in widths:
        raise InvalidArgument(
            f"{len(class_labels)} class labels for outputs of width {sorted(widths)}",
            field="class_labels",
        )
    return fields


def _inspect(content: bytes) -> dict[str, Any]:
    """Runs `inspect_onnx.py`, which may crash, hang or eat memory, and believes none of it."""
    with tempfile.TemporaryDirectory(prefix="wintergarden-import-") as folder:
        model = Path(folder) / "model.onnx"
        model.write_bytes(content)
        command = [sys.executable, "-I", "-B", inspect_onnx.__file__, str(model), str(MAX_NODES)]
        try:
            done = subprocess.run(
                command,
                cwd=folder,
                env={"PATH": os.defpath, "OMP_NUM_THREADS": "1"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise InvalidArgument(
                f"the model could not be read within {TIMEOUT_S:.0f} s"
            ) from error
    try:
        if done.returncode != 0 or len(done.stdout) > _MAX_ANSWER_BYTES:
            raise ValueError(f"exit status {done.returncode}")
        answer = json.loads(done.stdout)
        if not isinstance(answer, dict):
            raise ValueError("no JSON object")
    except ValueError as error:
        raise InvalidArgument(
            f"the model broke the process that read it ({error}); it was not imported"
        ) from error
    if "error" in answer:
        kind = Unsupported if answer.get("kind") == "Unsupported" else InvalidArgument
        raise kind(f"the model cannot be imported: {answer['error']}")
    return answer


def _with_range(tensor: TensorInfo, value_range: tuple[float, float]) -> TensorInfo:
    if tensor.datatype not in ("FP16", "FP32", "FP64"):
        return tensor
    return TensorInfo(**{**tensor.model_dump(), "value_range": value_range})


def _task(inputs: tuple[TensorInfo, ...], class_labels: tuple[str, ...]) -> Any:
    if not class_labels or len(inputs) != 1:
        return "unknown"
    rank = len(inputs[0].shape)
    return {4: "image-classification", 2: "tabular-classification"}.get(rank, "unknown")
