"""What ONNX Runtime is here, for people: `wintergarden doctor`."""

from __future__ import annotations

from importlib import metadata
from typing import Any

from wintergarden.errors import FailedPrecondition
from wintergarden.runtime.library import onnxruntime
from wintergarden.runtime.providers import cuda_problem
from wintergarden.runtime.threads import available_threads

# They install the same import package over one another; the last one wins, file by file.
_PACKAGES = (
    "onnxruntime",
    "onnxruntime-gpu",
    "onnxruntime-directml",
    "onnxruntime-openvino",
    "onnxruntime-training",
)


def describe_runtime() -> dict[str, Any]:
    """Package, version, providers, threads; `error` is None when all is well.

    `cuda_problem` says why sessions run on the CPU and is None where CUDA may work.
    """
    installed = {name: version for name in _PACKAGES if (version := _version(name))}
    description: dict[str, Any] = {
        "packages": installed,
        "version": None,
        "available_providers": [],
        "cuda_problem": None,
        "threads": available_threads(),
        "error": None,
    }
    try:
        library = onnxruntime()
    except FailedPrecondition as error:
        description["error"] = error.message
        return description
    description["version"] = library.__version__
    description["available_providers"] = library.get_available_providers()
    description["cuda_problem"] = cuda_problem()
    if len(installed) > 1:
        description["error"] = (
            f"{' and '.join(installed)} are both installed and overwrite each other's files; "
            f"uninstall all of them, then install one of wintergarden[cpu] and wintergarden[gpu]"
        )
    return description


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
