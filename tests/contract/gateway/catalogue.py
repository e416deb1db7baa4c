"""What a trainer registers, for tests of submissions."""

from __future__ import annotations

from typing import Any

CATALOGUE: dict[str, Any] = {
    "architectures": [
        {
            "name": "lenet5",
            "summary": "LeNet-5",
            "source": "LeCun 1998",
            "task": "image-classification",
            "hyperparameters_schema": {
                "additionalProperties": False,
                "properties": {"epochs": {"type": "integer", "minimum": 1, "maximum": 200}},
            },
            "datasets": ["digits"],
        }
    ],
    "datasets": [
        {
            "name": "digits",
            "summary": "8 by 8 digits",
            "source": "UCI",
            "task": "image-classification",
            "input_shape": [1, 8, 8],
            "class_labels": list("0123456789"),
            "split_sizes": {"train": 1437, "test": 360},
        }
    ],
}
