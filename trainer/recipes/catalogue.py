"""What this trainer can train, for those who may not import torch to ask."""

from __future__ import annotations

from typing import Any

from trainer.data.registry import datasets
from trainer.recipes.hyperparameters import hyperparameters_of
from trainer.zoo.registry import architectures


def catalogue() -> dict[str, list[dict[str, Any]]]:
    """Architectures and data sets as plain JSON values, as the Describe calls answer them."""
    return {
        "architectures": [
            {
                "name": architecture.name,
                "summary": architecture.summary,
                "source": architecture.source,
                "task": architecture.task,
                "hyperparameters_schema": hyperparameters_of(name).model_json_schema(),
                "datasets": [
                    info.name for info in datasets().values() if not architecture.refusal(info)
                ],
            }
            for name, architecture in architectures().items()
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
            }
            for info in datasets().values()
        ],
    }
