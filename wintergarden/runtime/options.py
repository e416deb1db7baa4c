"""What a session may use of the machine, and what it shall do with the graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from wintergarden.errors import InvalidArgument

_MAX_THREADS = 1024

OptimizationLevel = Literal["disabled", "basic", "extended", "all"]

# Settings of a session that change its speed and memory and nothing outside it: others name files
# to write and libraries to load.
# https://github.com/microsoft/onnxruntime/blob/main/include/onnxruntime/core/session/onnxruntime_session_options_config_keys.h
SESSION_SETTINGS = frozenset(
    {
        "session.disable_prepacking",
        "session.dynamic_block_base",
        "session.force_spinning_stop",
        "session.inter_op.allow_spinning",
        "session.intra_op.allow_spinning",
        "session.qdq_matmulnbits_accuracy_level",
        "session.use_device_allocator_for_initializers",
    }
)

# The same of TensorRT.
# https://onnxruntime.ai/docs/execution-providers/TensorRT-ExecutionProvider.html
TENSORRT_SETTINGS = frozenset(
    {
        "trt_auxiliary_streams",
        "trt_bf16_enable",
        "trt_build_heuristics_enable",
        "trt_builder_optimization_level",
        "trt_context_memory_sharing_enable",
        "trt_cuda_graph_enable",
        "trt_dla_core",
        "trt_dla_enable",
        "trt_force_sequential_engine_build",
        "trt_fp16_enable",
        "trt_int8_enable",
        "trt_layer_norm_fp32_fallback",
        "trt_max_partition_iterations",
        "trt_max_workspace_size",
        "trt_min_subgraph_size",
        "trt_profile_max_shapes",
        "trt_profile_min_shapes",
        "trt_profile_opt_shapes",
        "trt_sparsity_enable",
        "trt_tactic_sources",
    }
)


@dataclass(frozen=True)
class RuntimeOptions:
    """Device, threads and memory of a session.

    Attributes:
        device: `cuda` refuses to fall back, `auto` takes CUDA where it works and the CPU elsewhere.
        device_id: which of the CUDA devices.
        intra_op_threads: inside one operator; 0 takes `available_threads()`.
        inter_op_threads: for operators that do not depend on one another; more than 1 runs them
            at the same time, 0 takes `available_threads()`.
        is_spinning: threads wait for work in a busy loop. A little faster for a busy session of
            many threads, and a waste of a core for an idle one or under a CPU quota.
        optimization_level: how much of the graph ONNX Runtime may rewrite.
        has_arena: memory of the CPU is kept for later runs.
        has_memory_pattern: buffers of a run are laid out at once where shapes repeat.
        is_arena_shrunk: the arena gives back after each run what that run made it grow. Costs
            time; for sessions whose inputs vary widely in size (onnxruntime#22297, #14474).
        session_settings: names of `SESSION_SETTINGS` and their values.
        cuda_memory_limit_bytes: of the CUDA arena; None sets no limit.
        is_tf32: lets CUDA round float32 factors to 10 bits of mantissa, which breaks export
            tolerances of 1e-4.
        is_bound: inputs go through device buffers that are kept from run to run; None: on CUDA.
        is_cuda_graph: kernels are recorded once for each shape and then launched together; runs
            follow one another, since a recording has one set of buffers (onnxruntime#18509).
        tensorrt: names of `TENSORRT_SETTINGS` and their values; None leaves TensorRT out.
        unmet: what to do where CUDA graphs or TensorRT cannot be had: refuse the model, or
            say so in a warning and do without.
    """

    device: Literal["auto", "cpu", "cuda"] = "auto"
    device_id: int = 0
    intra_op_threads: int = 0
    inter_op_threads: int = 1
    is_spinning: bool = False
    optimization_level: OptimizationLevel = "all"
    has_arena: bool = True
    has_memory_pattern: bool = True
    is_arena_shrunk: bool = False
    session_settings: Mapping[str, str] = field(default_factory=dict)
    cuda_memory_limit_bytes: int | None = None
    is_tf32: bool = False
    is_bound: bool | None = None
    is_cuda_graph: bool = False
    tensorrt: Mapping[str, str] | None = None
    unmet: Literal["refuse", "warn"] = "refuse"

    def __post_init__(self) -> None:
        if self.device not in ("auto", "cpu", "cuda"):
            raise InvalidArgument(f"device {self.device!r} is unknown; allowed are auto, cpu, cuda")
        for threads in (self.intra_op_threads, self.inter_op_threads):
            if not 0 <= threads <= _MAX_THREADS:
                raise InvalidArgument(
                    f"{threads} threads of a session; allowed are 0, for as many as there are "
                    f"cores, to {_MAX_THREADS}"
                )
        _check_names(self.session_settings, SESSION_SETTINGS, "session setting")
        _check_names(self.tensorrt or {}, TENSORRT_SETTINGS, "TensorRT setting")
        if self.is_cuda_graph and self.is_arena_shrunk:
            raise InvalidArgument(
                "a CUDA graph keeps its buffers, which a shrinking arena gives back; choose one"
            )


def _check_names(given: Mapping[str, str], known: frozenset[str], kind: str) -> None:
    for name in given:
        if name not in known:
            raise InvalidArgument(
                f"{kind} {name!r:.100} is not offered; allowed are {', '.join(sorted(known))}"
            )


DEFAULTS = RuntimeOptions()
