"""Names for versions, and which of them answers a request that names none.

{"labels": {"stable": 3, "canary": 4}, "split": {"stable": 0.9, "canary": 0.1},
 "shadow": 5, "revision": 7}
"""

from __future__ import annotations

import json
import math
import re
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from wintergarden.errors import DataLoss, FailedPrecondition, InvalidArgument

LABELS = "labels.json"
MAX_LABELS_BYTES = 64 * 2**10
MAX_LABELS = 64

# Begins with a letter, so that no label is taken for a version number.
_LABEL = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,62}")
_Version = Annotated[int, Field(ge=1)]


class StaleRevision(FailedPrecondition):
    """The labels were changed by somebody else since they were read."""


class Labels(BaseModel):
    """Labels of one model; the empty ones leave everything to the latest version.

    Attributes:
        labels: versions by label.
        split: shares by label, which sum to 1, of the requests that name no version; empty: the
            latest version takes them all.
        shadow: the version that is sent a copy of those requests and whose answers nobody sees.
        revision: counts the changes; a writer says which one it has seen.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    labels: dict[str, _Version] = {}
    split: dict[str, float] = {}
    shadow: _Version | None = None
    revision: Annotated[int, Field(ge=0)] = 0

    @field_validator("labels")
    @classmethod
    def _are_names(cls, labels: dict[str, int]) -> dict[str, int]:
        if len(labels) > MAX_LABELS:
            raise ValueError(f"{len(labels)} labels; at most {MAX_LABELS} are allowed")
        for label in labels:
            if label == "shadow":
                raise ValueError("'shadow' is no label: it is set by itself")
            if not _LABEL.fullmatch(label):
                raise ValueError(
                    f"{label!r:.80} is no label; allowed are up to 63 letters, digits and . _ - , "
                    "the first a letter"
                )
        return labels

    @model_validator(mode="after")
    def _is_whole(self) -> Labels:
        for label, share in self.split.items():
            if label not in self.labels:
                raise ValueError(f"the split names {label!r:.80}, which is not among the labels")
            if not 0 <= share <= 1:
                raise ValueError(f"the share of {label!r} is {share}; allowed are 0 to 1")
        total = math.fsum(self.split.values())
        if self.split and not math.isclose(total, 1, abs_tol=1e-6):
            raise ValueError(f"the shares of the split sum to {total:g}; they must sum to 1")
        return self

    def names_of(self, version: int) -> list[str]:
        """What a version is called here; `shadow` where it shadows."""
        names = [label for label, number in self.labels.items() if number == version]
        return [*names, "shadow"] if self.shadow == version else names

    def to_json(self) -> bytes:
        """The content of `labels.json`."""
        return json.dumps(self.model_dump(), indent=2, sort_keys=True).encode() + b"\n"


def parse_labels(content: bytes, model: str) -> Labels:
    """Reads `labels.json`.

    Raises:
        DataLoss: it is not valid.
    """
    try:
        return Labels.model_validate_json(content)
    except ValidationError as error:
        raise DataLoss(f"{LABELS} of model {model!r} is not valid: {_first(error)}") from error


def make_labels(**fields: object) -> Labels:
    """Labels from a request.

    Raises:
        InvalidArgument: they are not valid.
    """
    try:
        return Labels.model_validate(fields)
    except ValidationError as error:
        raise InvalidArgument(f"labels: {_first(error)}", field="labels") from error


def _first(error: ValidationError) -> str:
    problem = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in problem["loc"])
    message = problem["msg"].removeprefix("Value error, ")
    return f"{where}: {message}" if where else message
