"""Where a training computes, and in which precision."""

from __future__ import annotations

import os

import torch

from trainer.recipes.hyperparameters import Precision
from wintergarden.errors import InvalidArgument, Unsupported

_AUTOCAST: dict[Precision, torch.dtype] = {"bf16": torch.bfloat16, "fp16": torch.float16}


def choose_device(wanted: str, rank: int = 0, processes: int = 1) -> torch.device:
    """The device of a rank; made the current one.

    Args:
        wanted: "auto" is CUDA where every rank can have a GPU of its own, else the CPU.
        rank: of this process.
        processes: that train together, on this machine.

    Raises:
        InvalidArgument: no such device.
        Unsupported: CUDA is wanted, and there is none or not enough of it.
    """
    if wanted not in ("auto", "cpu", "cuda"):
        raise InvalidArgument(
            f"device {wanted!r:.40}: allowed are auto, cpu and cuda", field="device"
        )
    count = torch.cuda.device_count() if wanted != "cpu" else 0
    if wanted == "cuda" and count < processes:
        raise Unsupported(
            f"device 'cuda' with {processes} processes needs as many GPUs, and PyTorch "
            f"{torch.__version__} sees {count} here: ask for 'auto' or 'cpu', or run a worker "
            "where there are more, with a CUDA build of torch"
        )
    if count < processes:
        return torch.device("cpu")
    # Before the first call of cuBLAS, which is deterministic only with a workspace of fixed size.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    device = torch.device("cuda", rank)
    torch.cuda.set_device(device)
    return device


def describe_device(device: torch.device) -> str:
    """For the log: the GPU's name, or the CPU's threads."""
    if device.type == "cuda":
        return f"{device} ({_name(device)})"
    threads = torch.get_num_threads()
    return f"cpu ({threads} thread{'s' if threads > 1 else ''})"


def environment(device: torch.device, processes: int) -> dict[str, str]:
    """With all of it the same, and the seed, a CPU ends at the same weights, bit by bit."""
    return {
        "torch": torch.__version__,
        "threads": str(torch.get_num_threads()),
        "processes": str(processes),
        "device": _name(device),
        "cpu": torch.backends.cpu.get_cpu_capability(),
    }


def be_deterministic(device: torch.device) -> None:
    """The same bits each time on a CPU; on CUDA only warnings where an operator has no way to."""
    torch.use_deterministic_algorithms(True, warn_only=device.type == "cuda")
    # It would overwrite every new tensor with NaN, a fifth of a SegNet's step; what reads memory
    # that nobody wrote is a bug, which no number makes repeatable.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def autocast_dtype(precision: Precision, device: torch.device) -> torch.dtype | None:
    """What matrix products and convolutions are computed in; None is float32.

    Raises:
        Unsupported: this device cannot train in it.
    """
    if precision == "fp16" and device.type != "cuda":
        raise Unsupported(
            "precision 'fp16' trains on CUDA alone, and this training is on the CPU: choose "
            "'bf16' or 'fp32', or ask for device 'cuda'"
        )
    return _AUTOCAST.get(precision)


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
