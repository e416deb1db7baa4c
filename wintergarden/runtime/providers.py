"""Chooses the execution provider: CUDA where it is asked for or works, else the CPU.

`onnxruntime-gpu` lists CUDA as available on every machine and falls back with a log line, so what
counts is what a session reports after it was created.
"""

from __future__ import annotations

import ctypes
import logging
from functools import cache
from typing import Any

from wintergarden.errors import FailedPrecondition
from wintergarden.runtime.library import onnxruntime
from wintergarden.runtime.options import RuntimeOptions

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
TENSORRT = "TensorrtExecutionProvider"

_log = logging.getLogger(__name__)


def choose_providers(options: RuntimeOptions) -> list[Any]:
    """Providers to ask for, best first.

    Raises:
        FailedPrecondition: CUDA, a CUDA graph or TensorRT is demanded and this machine or this
            package has none.
    """
    problem = "device 'cpu' was chosen" if options.device == "cpu" else cuda_problem()
    if problem is None:
        chosen: list[Any] = [(CUDA, _cuda_settings(options)), CPU]
        if options.tensorrt is not None and _has_tensorrt(options):
            device = {"device_id": str(options.device_id)}
            chosen.insert(0, (TENSORRT, {**device, **options.tensorrt}))
        return chosen
    if options.device == "cuda":
        raise FailedPrecondition(_demand_unmet(problem))
    for wanted, is_wanted in (
        ("a CUDA graph", options.is_cuda_graph),
        ("TensorRT", options.tensorrt is not None),
    ):
        if is_wanted:
            say_unmet(options, wanted, f"it needs CUDA: {problem}")
    if options.device == "auto":
        _say_fallback(problem)
    return [CPU]


def check_providers(options: RuntimeOptions, got: list[str]) -> None:
    """Compares what a session got with what was asked for.

    Raises:
        FailedPrecondition: CUDA or TensorRT is demanded and the session runs elsewhere.
    """
    if options.device == "cpu" or cuda_problem() is not None:
        return
    if CUDA not in got:
        problem = f"the session got {', '.join(got)}; {_missing_libraries()}"
        if options.device == "cuda":
            raise FailedPrecondition(_demand_unmet(problem))
        _say_fallback(problem)
    if options.tensorrt is not None and TENSORRT not in got and _has_tensorrt(options):
        say_unmet(
            options, "TensorRT", f"the session got {', '.join(got)}; is libnvinfer installed?"
        )


def say_unmet(options: RuntimeOptions, wanted: str, problem: str) -> None:
    """What to do about something that a model's options ask for and that cannot be had.

    Raises:
        FailedPrecondition: unless the options content themselves with a warning.
    """
    if options.unmet == "refuse":
        raise FailedPrecondition(f"{wanted} was demanded and cannot be had: {problem}")
    _log.warning("%s was asked for and cannot be had, running without: %s", wanted, problem)


def _has_tensorrt(options: RuntimeOptions) -> bool:
    if TENSORRT in onnxruntime().get_available_providers():
        return True
    say_unmet(options, "TensorRT", "the installed ONNX Runtime is built without it")
    return False


@cache
def cuda_problem() -> str | None:
    """Why CUDA cannot work here, as far as one can tell without a session; None when it may.

    Asks the driver itself. Asking ONNX Runtime prints to stderr, whatever its log level.
    """
    library = onnxruntime()
    if CUDA not in library.get_available_providers():
        return (
            "the installed ONNX Runtime is built without CUDA; install wintergarden[gpu] instead "
            "of wintergarden[cpu]"
        )
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "no NVIDIA driver (libcuda.so.1); in a container, start it with --gpus"
    count = ctypes.c_int(0)
    status = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    if status != 0 or count.value == 0:
        return f"the NVIDIA driver offers no device (CUDA status {status}, {count.value} devices)"
    # CUDA libraries from pip's nvidia-* packages are on no search path until they are loaded.
    library.preload_dlls(msvc=False)
    return None


def _cuda_settings(options: RuntimeOptions) -> dict[str, str]:
    settings = {
        "device_id": str(options.device_id),
        # Grow by what is needed: the default doubles, and the arena never shrinks by itself.
        "arena_extend_strategy": "kSameAsRequested",
        # EXHAUSTIVE, the default, measures every algorithm anew for each new batch size.
        "cudnn_conv_algo_search": "HEURISTIC",
        "use_tf32": str(int(options.is_tf32)),
    }
    if options.cuda_memory_limit_bytes is not None:
        settings["gpu_mem_limit"] = str(options.cuda_memory_limit_bytes)
    if options.is_cuda_graph:
        settings["enable_cuda_graph"] = "1"
    return settings


def _missing_libraries() -> str:
    version = getattr(onnxruntime(), "cuda_version", "") or "13"
    major = version.split(".")[0]
    for name in (f"libcudart.so.{major}", f"libcublasLt.so.{major}", "libcudnn.so.9"):
        try:
            ctypes.CDLL(name)
        except OSError as error:
            return (
                f"{error}; install CUDA {major} and cuDNN 9, or onnxruntime-gpu[cuda,cudnn] by pip"
            )
    return "its CUDA libraries load but its CUDA provider does not"


def _demand_unmet(problem: str) -> str:
    return f"device 'cuda' was demanded and cannot be had: {problem}; or choose device 'cpu'"


@cache
def _say_fallback(problem: str) -> None:
    """Once per process and problem, not once per model."""
    _log.info("device 'auto' runs on the CPU: %s", problem)
