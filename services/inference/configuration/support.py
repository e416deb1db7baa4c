"""Refuses what a configuration may ask of Triton and this server does not do."""

from __future__ import annotations

from collections.abc import Iterator

from wintergarden.errors import InvalidArgument, Unsupported
from wintergarden.wire.model_config_pb2 import ModelConfig, ModelInstanceGroup

PLATFORM = "onnxruntime_onnx"
BACKEND = "onnxruntime"
ENSEMBLE = "ensemble"


def check_supported(config: ModelConfig) -> None:
    """Hold a configuration to what is served here.

    Raises:
        InvalidArgument: it contradicts itself.
        Unsupported: it asks for something else; the message names the cure.
    """
    for field, cure in _refused(config):
        raise Unsupported(f"model {config.name!r:.200}: {field}: {cure}")
    _check_numbers(config)


def is_ensemble(config: ModelConfig) -> bool:
    return bool(config.HasField("ensemble_scheduling"))


def without_effect(config: ModelConfig) -> list[str]:
    """Fields that are set and change nothing here; answers are the same without them."""
    optimization = config.optimization
    fields = {
        "metric_tags": config.metric_tags,
        "model_metrics": config.HasField("model_metrics"),
        "optimization.priority": optimization.priority,
        "optimization.input_pinned_memory": optimization.HasField("input_pinned_memory"),
        "optimization.output_pinned_memory": optimization.HasField("output_pinned_memory"),
        "optimization.gather_kernel_buffer_threshold": optimization.gather_kernel_buffer_threshold,
        "optimization.eager_batching": optimization.eager_batching,
        "optimization.cuda.busy_wait_events": optimization.cuda.busy_wait_events,
        "optimization.cuda.output_copy_stream": optimization.cuda.output_copy_stream,
        "instance_group.host_policy": any(g.host_policy for g in config.instance_group),
    }
    return [name for name, is_set in fields.items() if is_set]


def _refused(config: ModelConfig) -> Iterator[tuple[str, str]]:
    if is_ensemble(config):
        if config.platform not in ("", ENSEMBLE) or config.backend not in ("", ENSEMBLE):
            yield (
                "ensemble_scheduling",
                f"goes with platform {ENSEMBLE!r} alone; got platform {config.platform!r:.80}, "
                f"backend {config.backend!r:.80}",
            )
    elif config.platform not in ("", PLATFORM) or config.backend not in ("", BACKEND):
        if ENSEMBLE in (config.platform, config.backend):
            yield "platform", "an ensemble needs ensemble_scheduling with its steps"
        got = config.backend or config.platform
        yield (
            "backend",
            f"{got!r:.80} is not served here; served are ONNX models, platform {PLATFORM!r} or "
            f"backend {BACKEND!r}, and {ENSEMBLE!r}: convert the model to ONNX",
        )
    if config.runtime not in ("", "onnxruntime", "libtriton_onnxruntime.so"):
        yield "runtime", f"{config.runtime!r:.80}; leave it out"
    if config.model_operations.op_library_filename:
        yield (
            "model_operations.op_library_filename",
            "libraries of custom operators are code and are not loaded; express the operators as "
            "functions of the ONNX file",
        )
    if config.batch_input or config.batch_output:
        yield "batch_input, batch_output", "ragged batches are not made here; pad in the client"
    if config.cc_model_filenames:
        yield "cc_model_filenames", "use default_model_filename"
    if config.model_repository_agents.agents:
        yield "model_repository_agents", "agents are not run here; leave them out"
    for tensor in (*config.input, *config.output):
        if tensor.is_shape_tensor or tensor.is_non_linear_format_io:
            yield f"tensor {tensor.name!r:.200}", "shape tensors and formats are TensorRT's"
    for tensor in config.input:
        if tensor.allow_ragged_batch:
            yield (
                f"input {tensor.name!r:.200}: allow_ragged_batch",
                "requests of one shape are grouped here, and never padded; leave it out",
            )
    for group in config.instance_group:
        if group.kind == ModelInstanceGroup.KIND_MODEL:
            yield "instance_group.kind", "KIND_MODEL; allowed are KIND_AUTO, KIND_CPU and KIND_GPU"
        if group.secondary_devices or group.profile or group.passive:
            yield "instance_group", "secondary_devices, profile and passive are not served here"


def _check_numbers(config: ModelConfig) -> None:
    if config.max_batch_size < 0:
        raise InvalidArgument(
            f"model {config.name!r:.200}: max_batch_size {config.max_batch_size}; it must be 0, "
            "for no batches, or more",
            field="max_batch_size",
        )
    for group in config.instance_group:
        if group.count < 0:
            raise InvalidArgument(
                f"model {config.name!r:.200}: instance_group.count {group.count}; it must be "
                "positive",
                field="instance_group.count",
            )
    for size in config.dynamic_batching.preferred_batch_size:
        if not 0 < size <= (config.max_batch_size or size):
            raise InvalidArgument(
                f"model {config.name!r:.200}: preferred_batch_size {size}; allowed are 1 to "
                f"max_batch_size, which is {config.max_batch_size}",
                field="dynamic_batching.preferred_batch_size",
            )
    levels = config.dynamic_batching.priority_levels
    default = config.dynamic_batching.default_priority_level
    if levels and not 1 <= default <= levels:
        raise InvalidArgument(
            f"model {config.name!r:.200}: default_priority_level {default}; with {levels} "
            f"priority_levels it must be 1 to {levels}",
            field="dynamic_batching.default_priority_level",
        )
    for tensor in (*config.input, *config.output):
        for size in tensor.dims:
            if size < -1 or size == 0:
                raise InvalidArgument(
                    f"model {config.name!r:.200}: dims {list(tensor.dims)} of "
                    f"{tensor.name!r:.200}; each must be positive, or -1 for any size",
                    field="dims",
                )
