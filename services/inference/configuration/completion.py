"""Fills in what a configuration leaves out, so that ModelConfig answers with all of it.

Triton does the same when it loads a model (auto-complete-config).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from services.inference.configuration.support import BACKEND, PLATFORM
from services.inference.configuration.tensors import Reshape, Tensors, data_type
from wintergarden.runtime import TensorSpec
from wintergarden.wire.model_config_pb2 import (
    ModelConfig,
    ModelInput,
    ModelInstanceGroup,
    ModelOutput,
)


@dataclass(frozen=True)
class Completion:
    """What was found out when the model was loaded.

    Attributes:
        tensors: what clients see.
        max_batch_size: rows of one run; 0: requests run alone.
        device: `cpu` or `cuda`.
        instances: runs at the same time.
        file_name: of the graph.
        parameters: what else was decided, by name.
    """

    tensors: Tensors
    max_batch_size: int
    device: str
    instances: int
    file_name: str
    parameters: Mapping[str, str] = field(default_factory=dict)


def complete(config: ModelConfig, found: Completion) -> ModelConfig:
    """The configuration with every gap filled; what it says stays as it is."""
    full = ModelConfig()
    full.CopyFrom(config)
    full.platform = full.platform or PLATFORM
    full.backend = full.backend or BACKEND
    full.default_model_filename = full.default_model_filename or found.file_name
    full.max_batch_size = full.max_batch_size or found.max_batch_size
    _complete_tensors(full, found.tensors)
    if found.max_batch_size > 1 and full.WhichOneof("scheduling_choice") is None:
        full.dynamic_batching.SetInParent()
    _complete_instances(full, found)
    for name, value in found.parameters.items():
        if name not in full.parameters:
            full.parameters[name].string_value = value
    return full


def _complete_tensors(full: ModelConfig, tensors: Tensors) -> None:
    inputs = {t.name: t for t in full.input}
    outputs = {t.name: t for t in full.output}
    start = 1 if tensors.is_batched else 0
    for spec in tensors.inputs:
        tensor = inputs.get(spec.name) or full.input.add(name=spec.name)
        _fill(tensor, spec, tensors.input_reshapes, start)
        tensor.optional = spec.is_optional
    for spec in tensors.outputs:
        tensor = outputs.get(spec.name) or full.output.add(name=spec.name)
        _fill(tensor, spec, tensors.output_reshapes, start)


def _fill(
    tensor: ModelInput | ModelOutput,
    spec: TensorSpec,
    reshapes: Mapping[str, Reshape],
    start: int,
) -> None:
    tensor.data_type = data_type(spec.datatype)
    if not tensor.dims and spec.name not in reshapes:
        tensor.dims.extend(spec.shape[start:])


def _complete_instances(full: ModelConfig, found: Completion) -> None:
    kind = ModelInstanceGroup.KIND_GPU if found.device == "cuda" else ModelInstanceGroup.KIND_CPU
    if not full.instance_group:
        full.instance_group.add(count=found.instances)
    for i, group in enumerate(full.instance_group):
        group.name = group.name or f"{full.name}_{i}"
        group.count = group.count or 1
        group.kind = group.kind or kind
        if group.kind == ModelInstanceGroup.KIND_GPU and not group.gpus:
            group.gpus.append(0)
