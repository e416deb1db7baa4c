"""What this trainer can train, for those who may not import torch to ask."""

from __future__ import annotations

from typing import Any

from trainer.data.registry import datasets
from trainer.zoo.registry import architectures


def catalogue() -> dict[str, list[dict[str, Any]]]:
    """Architectures and data sets as plain JSON values, as the Describe calls answer them."""
    return {
        "architectures": [
            {
                "name": architecture.name,
                "summary": architecture.summary,
                "source": architecture.source,
                "task": " or ".join(architecture.tasks),
                "tasks": list(architecture.tasks),
                "image_side": architecture.image_side,
                "min_image_side": architecture.min_image_side,
                "hyperparameters_schema": architecture.hyperparameters.schema_document(),
                "datasets": [
                    info.name for info in datasets().values() if not architecture.refusal(info)
                ],
            }
            for architecture in architectures().values()
        ],
        "datasets": [
            {
                "name": info.name,
                "summary": info.summary,
                "source": info.source,
                "task": info.task,
                "input_shape": list(info.input_shape),
                "class_labels": list(info.class_labels),
                "split_sizes": dict(info.split_sizes),
                "feature_names": list(info.feature_names),
                "units": info.units,
                "value_range": list(info.value_range or ()),
            }
            for info in datasets().values()
        ],
    }
