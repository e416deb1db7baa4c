"""What a job that has succeeded leaves in the store, as its files say. Knows no Redis.

jobs/<job id>/<fence>/result.json     names the files of the result and says what they are

The job's record names it where a checkpoint would stand, so that a result counts exactly when the
attempt that wrote it still held the job.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from wintergarden.errors import DataLoss

RESULT = "result.json"
MAX_INDEX_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class ResultFile:
    """`name` is what people call it, `path` where it is, below `jobs/<job id>/`."""

    name: str
    path: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Result:
    """A job's result.

    Attributes:
        summary: what it is, JSON values.
        metrics: as the job's record shows them.
        files: that hold it.
    """

    summary: Mapping[str, Any]
    metrics: Mapping[str, float]
    files: tuple[ResultFile, ...] = field(default=())

    def to_json(self) -> bytes:
        return json.dumps(asdict(self), sort_keys=True, allow_nan=False).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Result:
        """The result; DataLoss where the text is none."""
        try:
            told = json.loads(text)
            files = tuple(ResultFile(**file) for file in told["files"])
            return cls(told["summary"], told["metrics"], files)
        except (ValueError, TypeError, KeyError) as error:
            raise DataLoss(f"{RESULT} is damaged: {error}") from error


def is_result(checkpoint: str) -> bool:
    """Whether what a record names is a result, not a checkpoint to go on from."""
    return checkpoint.rpartition("/")[2] == RESULT
