"""Shapes with sizes that are left open."""

from __future__ import annotations

ANY = -1


def may_agree(shape: tuple[int, ...], other: tuple[int, ...]) -> bool:
    """Both may describe one tensor; -1 is any size."""
    return len(shape) == len(other) and all(
        a == b or ANY in (a, b) for a, b in zip(shape, other, strict=True)
    )
