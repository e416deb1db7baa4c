"""Refuses outputs that are NaN or infinity before anything is computed of them."""

from __future__ import annotations

import numpy as np

from services.explanation.arrays import Array
from services.explanation.heads import Head
from services.explanation.subject import Subject
from wintergarden.errors import InvalidArgument


def check_finite(
    subject: Subject, head: Head, values: Array, numbers: Array, moved: str = ""
) -> None:
    """What the head says of each row, [N]: NaN and infinity have neither shares nor a border.

    Args:
        subject: The model.
        head: Whose output it is.
        values: The number of each row that all else follows from.
        numbers: What the rows are called, [N].
        moved: What became of the rows, for the message.

    Raises:
        InvalidArgument: naming the first row whose value is not finite.
    """
    for wrong in np.flatnonzero(~np.isfinite(values))[:1]:
        raise InvalidArgument(
            f"output '{head.name}' of {subject.label} is {values[wrong]} for row "
            f"{numbers[wrong]}{moved}; explained and attacked are outputs that are finite",
            "input",
        )
