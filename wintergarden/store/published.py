"""What a store shows of a model at one look."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """A model at one look; a tag changes when what it stands for does.

    Attributes:
        versions: a tag of its files by version.
        configuration: a tag of its `config.pbtxt`; empty when there is none.
        labels: a tag of its labels; empty when there are none.
    """

    versions: Mapping[int, str]
    configuration: str = ""
    labels: str = ""
