"""Which file of a version is served, on which device and how often at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from wintergarden.errors import InvalidArgument
from wintergarden.store.names import MODEL, VARIANTS
from wintergarden.wire.model_config_pb2 import ModelConfig, ModelInstanceGroup

Device = Literal["auto", "cpu", "cuda"]

# The variants of one graph that may lie beside one another in a version.
FILES: Mapping[str, str] = {"fp32": MODEL, **VARIANTS}


def precision(config: ModelConfig) -> str:
    """Which variant of the model is served: fp32, fp16 or int8.

    Raises:
        InvalidArgument: another one.
    """
    wanted = config.parameters["precision"].string_value if "precision" in config.parameters else ""
    if wanted and wanted not in FILES:
        raise InvalidArgument(
            f"model {config.name!r:.200}: parameter precision {wanted!r:.80}; allowed are "
            f"{', '.join(FILES)}",
            field="parameters.precision",
        )
    return wanted or "fp32"


def file_name(config: ModelConfig) -> str:
    """The graph's file in the version's folder."""
    return config.default_model_filename or FILES[precision(config)]


def device(config: ModelConfig, default: Device) -> Device:
    """Where the instances run.

    Raises:
        InvalidArgument: on several kinds of device at once.
    """
    kinds = {group.kind for group in config.instance_group}
    kinds.discard(ModelInstanceGroup.KIND_AUTO)
    if len(kinds) > 1:
        raise InvalidArgument(
            f"model {config.name!r:.200}: instance groups of KIND_CPU and KIND_GPU; a model runs "
            "on one kind of device here",
            field="instance_group.kind",
        )
    if ModelInstanceGroup.KIND_GPU in kinds:
        return "cuda"
    return "cpu" if kinds else default


def instances(config: ModelConfig, default: int) -> int:
    """Runs of the model that may go on at once."""
    return sum(group.count or 1 for group in config.instance_group) or default
