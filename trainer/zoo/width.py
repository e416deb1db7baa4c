"""A network of the paper's shape with a share of its channels, for small data and machines."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

Width = Annotated[
    float,
    Field(
        gt=0,
        le=1,
        description="Share of the paper's channels and units that each layer has; 1 is the paper.",
    ),
]


def scaled(channels: int, width: float, *, multiple: int = 1) -> int:
    """That share of a layer's channels, at least one group of them.

    Args:
        channels: the paper's.
        width: the share.
        multiple: what the number must be a multiple of.
    """
    return max(1, round(channels * width / multiple)) * multiple
