"""How a configuration wants its session opened, in the words of Triton's onnxruntime backend.

https://github.com/triton-inference-server/onnxruntime_backend#model-config-options
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from wintergarden.errors import InvalidArgument, Unsupported
from wintergarden.runtime import RuntimeOptions
from wintergarden.runtime.options import SESSION_SETTINGS, OptimizationLevel
from wintergarden.wire.model_config_pb2 import ModelConfig

_LEVELS: Mapping[int, OptimizationLevel] = {-1: "basic", 0: "all", 1: "extended", 2: "disabled"}
_TRUTHS = {"1": True, "true": True, "0": False, "false": False}
_SHRINKAGE = "memory.enable_memory_arena_shrinkage"
_PRECISIONS = {
    "FP32": {},
    "FP16": {"trt_fp16_enable": "1"},
    "BF16": {"trt_bf16_enable": "1"},
    "INT8": {"trt_int8_enable": "1"},
}


def runtime_options(config: ModelConfig, base: RuntimeOptions) -> RuntimeOptions:
    """What a model's configuration changes about the server's options.

    The device is not among it: instance groups say that.

    Raises:
        InvalidArgument: a value is not one of those allowed.
        Unsupported: an accelerator that is not offered.
    """
    parameters = {name: value.string_value for name, value in config.parameters.items()}
    read = _Reader(config.name, parameters)
    changes: dict[str, Any] = {}
    if threads := read.number("intra_op_thread_count"):
        changes["intra_op_threads"] = threads
    if "execution_mode" in parameters:
        is_parallel = read.truth("execution_mode")
        changes["inter_op_threads"] = (read.number("inter_op_thread_count")) if is_parallel else 1
    for name, option in (
        ("enable_mem_arena", "has_arena"),
        ("enable_mem_pattern", "has_memory_pattern"),
        ("use_tf32", "is_tf32"),
    ):
        if name in parameters:
            changes[option] = read.truth(name)
    if parameters.get(_SHRINKAGE):
        changes["is_arena_shrunk"] = True
    if limit := read.number("gpu_mem_limit"):
        changes["cuda_memory_limit_bytes"] = limit
    settings = {n: v for n, v in parameters.items() if n in SESSION_SETTINGS}
    if settings:
        changes["session_settings"] = {**base.session_settings, **settings}
    if "if_unmet" in parameters:
        changes["unmet"] = read.choice("if_unmet", ("refuse", "warn"))
    optimization = config.optimization
    if optimization.HasField("graph"):
        changes["optimization_level"] = _level(config)
    if optimization.cuda.graphs:
        changes["is_cuda_graph"] = True
    accelerators = optimization.execution_accelerators
    for accelerator in accelerators.gpu_execution_accelerator:
        if accelerator.name == "tensorrt":
            changes["tensorrt"] = _tensorrt(config.name, accelerator.parameters)
        elif accelerator.name != "cuda" or accelerator.parameters:
            raise _not_offered(
                config.name, accelerator.name, "tensorrt, and cuda without parameters"
            )
    for accelerator in accelerators.cpu_execution_accelerator:
        raise _not_offered(config.name, accelerator.name, "none on the CPU")
    return replace(base, **changes)


class _Reader:
    """Parameters are texts; what they must be is said where they are not."""

    def __init__(self, model: str, parameters: Mapping[str, str]) -> None:
        self._model = model
        self._parameters = parameters

    def number(self, name: str) -> int:
        """0 where there is none, which also means the default."""
        text = self._parameters.get(name, "0")
        if not (text.isascii() and text.isdigit() and len(text) <= 18):
            raise self._invalid(name, "a whole number")
        return int(text)

    def truth(self, name: str) -> bool:
        truth = _TRUTHS.get(self._parameters[name].lower())
        if truth is None:
            raise self._invalid(name, "0 or 1")
        return truth

    def choice(self, name: str, allowed: tuple[str, ...]) -> str:
        if self._parameters[name] not in allowed:
            raise self._invalid(name, " or ".join(allowed))
        return self._parameters[name]

    def _invalid(self, name: str, allowed: str) -> InvalidArgument:
        return InvalidArgument(
            f"model {self._model!r:.200}: parameter {name} {self._parameters[name]!r:.80}; "
            f"allowed is {allowed}",
            field=f"parameters.{name}",
        )


def _level(config: ModelConfig) -> OptimizationLevel:
    level = config.optimization.graph.level
    if level not in _LEVELS:
        raise InvalidArgument(
            f"model {config.name!r:.200}: optimization.graph.level {level}; allowed are -1 "
            "(basic), 0 (all), 1 (extended) and 2 (disabled)",
            field="optimization.graph.level",
        )
    return _LEVELS[level]


def _tensorrt(model: str, parameters: Mapping[str, str]) -> dict[str, str]:
    settings = dict(parameters)
    precision = settings.pop("precision_mode", "FP32")
    if precision not in _PRECISIONS:
        raise InvalidArgument(
            f"model {model!r:.200}: TensorRT's precision_mode {precision!r:.40}; allowed are "
            f"{', '.join(_PRECISIONS)}",
            field="optimization.execution_accelerators",
        )
    if (workspace := settings.pop("max_workspace_size_bytes", None)) is not None:
        settings["trt_max_workspace_size"] = workspace
    return {**settings, **_PRECISIONS[precision]}


def _not_offered(model: str, name: str, allowed: str) -> Unsupported:
    return Unsupported(
        f"model {model!r:.200}: execution accelerator {name!r:.80} is not offered; allowed are "
        f"{allowed}"
    )
