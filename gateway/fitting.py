"""Whether an architecture can be trained on an uploaded data set, by what the trainers registered.

The trainer has the last word (`trainer.zoo.registry`); a contract test holds that this says the
same. Knows no architecture.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Entry = Mapping[str, Any]


def refusal(architecture: Entry, dataset: Entry) -> str:
    """Why it cannot be trained on a data set; an empty string where it can."""
    tasks = architecture.get("tasks", ())
    if dataset["task"] not in tasks:
        return f"it is for {' and '.join(tasks) or 'no task'}, and this is {dataset['task']}"
    side = architecture.get("image_side")
    if side is not None:
        height, width = dataset["input_shape"][1:]
        if height != width or height > side:
            return (
                f"its images must be square and at most {side} pixels wide, these are "
                f"{width}x{height}"
            )
    least = architecture.get("min_image_side")
    if least is not None:
        height, width = dataset["input_shape"][1:]
        if height != width and min(height, width) < least:
            return (
                f"its images must be square or at least {least} pixels wide and high, these are "
                f"{width}x{height}"
            )
    return ""
