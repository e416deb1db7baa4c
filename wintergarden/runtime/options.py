"""What a session may use of the machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class RuntimeOptions:
    """Device, threads and memory of a session.

    Attributes:
        device: `cuda` refuses to fall back, `auto` takes CUDA where it works and the CPU elsewhere.
        intra_op_threads: inside one operator; 0 takes `available_threads()`.
        is_spinning: threads wait for work in a busy loop. A little faster for a busy session of
            many threads, and a waste of a core for an idle one or under a CPU quota.
        cuda_memory_limit_bytes: of the CUDA arena; None sets no limit.
        is_arena_shrunk: the arena gives back after each run what that run made it grow. Costs
            time; for sessions whose inputs vary widely in size (onnxruntime#22297, #14474).
        is_tf32: lets CUDA round float32 factors to 10 bits of mantissa, which breaks export
            tolerances of 1e-4.
    """

    device: Literal["auto", "cpu", "cuda"] = "auto"
    intra_op_threads: int = 0
    is_spinning: bool = False
    cuda_memory_limit_bytes: int | None = None
    is_arena_shrunk: bool = False
    is_tf32: bool = False


DEFAULTS = RuntimeOptions()
