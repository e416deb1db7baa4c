"""What gets a value: single features, superpixels on a grid, or whatever a mask says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from services.explanation.arrays import Array, is_channels_last
from wintergarden.errors import InvalidArgument, InvalidTensor


@dataclass(frozen=True, eq=False)
class Players:
    """A partition of one input row.

    Attributes:
        assignment: INT64 of the row's shape: which player an element belongs to.
        count: Number of players M; each owns at least one element.
    """

    assignment: Array
    count: int

    @classmethod
    def features(cls, shape: Sequence[int]) -> Players:
        """Every element for itself."""
        count = int(np.prod(shape))
        return cls(np.arange(count).reshape(shape), count)

    @classmethod
    def grid(cls, shape: Sequence[int], rows: int, columns: int) -> Players:
        """Rectangles of an image [C, H, W], [H, W, C] or [H, W], as equal as they can be.

        Channels are together.

        Raises:
            InvalidArgument: no image, or more rectangles than pixels.
        """
        if len(shape) not in (2, 3):
            raise InvalidArgument(
                f"a grid needs an image [C, H, W] or [H, W], the input is {list(shape)}; "
                "use features or a feature mask",
                "players.grid",
            )
        is_last = is_channels_last(shape)
        height, width = shape[:2] if is_last else shape[-2:]
        if not (1 <= rows <= height and 1 <= columns <= width):
            raise InvalidArgument(
                f"a grid of {rows}×{columns} on an image of {height}×{width}; "
                f"rows must be 1 to {height}, columns 1 to {width}",
                "players.grid",
            )
        row_of = np.arange(height) * rows // height
        column_of = np.arange(width) * columns // width
        assignment = row_of[:, None] * columns + column_of
        assignment = assignment[:, :, None] if is_last else assignment
        return cls(np.broadcast_to(assignment, shape).copy(), rows * columns)

    @classmethod
    def mask(cls, mask: Array, shape: Sequence[int]) -> Players:
        """Players 0 to M − 1 as drawn by the caller.

        Raises:
            InvalidTensor: another shape or type than the row's, or numbers with gaps.
        """
        if mask.dtype.kind not in "iu" or mask.shape != tuple(shape):
            raise InvalidTensor(
                f"the feature mask must be integers of shape {list(shape)}, "
                f"got {mask.dtype} {list(mask.shape)}",
                "players.feature_mask",
            )
        numbers = np.unique(mask)
        if not np.array_equal(numbers, np.arange(len(numbers))):
            raise InvalidTensor(
                "the feature mask must number its players 0, 1, 2, … without gaps, got "
                f"{numbers[:10].tolist()}{' …' if len(numbers) > 10 else ''}",
                "players.feature_mask",
            )
        return cls(mask.astype(np.int64), len(numbers))

    def to_elements(self, values: Array) -> Array:
        """[N, M] to [N, …]: a player's value stands at each of its elements."""
        spread: Array = values[:, self.assignment]
        return spread
