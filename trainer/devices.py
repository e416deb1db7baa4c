"""What a training can run on here. Imports torch, so only training processes may ask."""

from __future__ import annotations

import torch


def devices() -> list[str]:
    """For people: `cpu`, and each GPU as PyTorch numbers it, with its name and memory."""
    if not torch.cuda.is_available():
        return ["cpu"]
    gpus = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
    return [
        "cpu",
        *(f"cuda:{i} {gpu.name}, {gpu.total_memory >> 20} MiB" for i, gpu in enumerate(gpus)),
    ]
