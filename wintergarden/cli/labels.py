"""Labels of a model as a person writes them: `stable=3 canary=4:0.1 shadow=5`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import typer

from wintergarden.client import ModelLabels

_SHADOW = "shadow"


def changed(labels: ModelLabels, assignments: Sequence[str]) -> ModelLabels:
    """The labels after the assignments `LABEL=VERSION`, `LABEL=VERSION:SHARE` and `LABEL=`.

    Shares that are given make a new split: what they leave of 1 goes to the one label that was
    assigned without a share. Without any, the split stays as it is. A label that is taken away
    leaves its share to the others.

    Raises:
        typer.BadParameter: an assignment that cannot be read, or shares without a sense.
    """
    versions, split = dict(labels.labels), dict(labels.split)
    shadow = labels.shadow
    shares: dict[str, float] = {}
    unshared: list[str] = []
    for assignment in assignments:
        label, version, share = _read(assignment)
        if label == _SHADOW:
            if share is not None:
                raise typer.BadParameter(f"{assignment!r}: a shadow has no share")
            shadow = version
        elif version:
            versions[label] = version
            if share is None:
                unshared.append(label)
            else:
                shares[label] = share
        else:
            versions.pop(label, None)
            split = _without(split, label)
    if shares:
        split = _split(shares, unshared)
    return replace(labels, labels=versions, split=split, shadow=shadow)


def told(labels: ModelLabels) -> str:
    """In the words of `changed`; a share in per cent."""
    parts = [
        f"{label}={version}" + (f" ({labels.split[label]:.4g})" if label in labels.split else "")
        for label, version in sorted(labels.labels.items())
    ]
    if labels.shadow:
        parts.append(f"{_SHADOW}={labels.shadow}")
    return ", ".join(parts) or "–"


def _read(assignment: str) -> tuple[str, int, float | None]:
    label, equals, rest = assignment.partition("=")
    version, colon, share = rest.partition(":")
    try:
        if not label or not equals or (colon and not version):
            raise ValueError
        number = int(version) if version else 0
        part = float(share) if colon else None
        if number < 0 or (version and number == 0):
            raise ValueError
    except ValueError as error:
        raise typer.BadParameter(
            f"{assignment!r}; write LABEL=VERSION, LABEL=VERSION:SHARE, or LABEL= to take it away"
        ) from error
    if part is not None and not 0 <= part <= 1:
        raise typer.BadParameter(f"{assignment!r}: a share is from 0 to 1")
    return label, number, part


def _split(shares: Mapping[str, float], unshared: Sequence[str]) -> dict[str, float]:
    rest = 1 - math.fsum(shares.values())
    if math.isclose(rest, 0, abs_tol=1e-6):
        return dict(shares)
    if rest < 0 or len(unshared) != 1:
        whom = ", ".join(unshared) or "none"
        raise typer.BadParameter(
            f"the shares sum to {1 - rest:g}; they must sum to 1, or leave the rest to one label "
            f"that is given without a share (there is {whom})"
        )
    return {**shares, unshared[0]: rest}


def _without(split: Mapping[str, float], label: str) -> dict[str, float]:
    others = {name: share for name, share in split.items() if name != label}
    total = math.fsum(others.values())
    return {name: share / total for name, share in others.items()} if total else {}
