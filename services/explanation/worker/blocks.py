"""What is done of a job, kept block by block: who goes on repeats none that is kept.

jobs/<job id>/<fence>/checkpoint-block-<number>.npz    arrays of the block's rows
jobs/<job id>/<fence>/checkpoint-<blocks>.json         names all blocks done, also by others before

A job is divided the same way whoever works on it, so its result is the same whoever was killed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from services.explanation.arrays import Array
from wintergarden.errors import DataLoss
from wintergarden.jobs.results import ResultFile
from wintergarden.store.arrays import pack, unpack
from wintergarden.store.job_files import JobFiles

_INDEX_BYTES = 8 << 20


@dataclass
class Progress:
    """What is done.

    Attributes:
        blocks: names of the blocks' files, in order.
        steps: rows (or radii) in them.
        evaluations: model rows run for them.
        summary: what they have in common, JSON values.
        pictures: of their rows.
    """

    blocks: list[str] = field(default_factory=list)
    steps: int = 0
    evaluations: int = 0
    summary: dict[str, Any] = field(default_factory=dict)
    pictures: list[ResultFile] = field(default_factory=list)

    def to_json(self) -> bytes:
        told = {**vars(self), "pictures": [_told(picture) for picture in self.pictures]}
        return json.dumps(told, sort_keys=True, allow_nan=False).encode()

    @classmethod
    def from_json(cls, text: bytes) -> Progress:
        try:
            told = json.loads(text)
            told["pictures"] = [ResultFile(**picture) for picture in told["pictures"]]
            return cls(**told)
        except (ValueError, TypeError, KeyError) as error:
            raise DataLoss(f"the checkpoint is damaged: {error}") from error


class Blocks:
    """The files of one attempt.

    Args:
        files: of the job.
        fence: of the attempt.
        max_bytes: that the arrays of all blocks may take.
    """

    def __init__(self, files: JobFiles, fence: int, max_bytes: int) -> None:
        self._files = files
        self._fence = fence
        self._max_bytes = max_bytes

    def read(self, checkpoint: str) -> Progress:
        """What attempts before this one have done; nothing where there is no checkpoint."""
        if not checkpoint:
            return Progress()
        return Progress.from_json(self._files.read(checkpoint, _INDEX_BYTES))

    def keep(self, progress: Progress, arrays: Mapping[str, Array]) -> str:
        """Writes a block and names it in `progress`; the checkpoint's own name."""
        number = len(progress.blocks)
        name = f"{self._fence}/checkpoint-block-{number}.npz"
        checkpoint = f"{self._fence}/checkpoint-{number + 1}.json"
        self._files.put(name, pack(arrays))
        done = replace(progress, blocks=[*progress.blocks, name])
        self._files.put(checkpoint, done.to_json())
        progress.blocks = done.blocks  # only now: it may be called again where there is no space
        return checkpoint

    def put(self, name: str, content: bytes) -> ResultFile:
        """Writes a file of the result."""
        path = f"{self._fence}/{name}"
        info = self._files.put(path, content)
        return ResultFile(name, path, info.bytes, info.sha256)

    def all_arrays(self, progress: Progress) -> dict[str, Array]:
        """The arrays of all blocks, one after the other."""
        parts = [unpack(self._read(name), self._max_bytes) for name in progress.blocks]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _read(self, name: str) -> bytes:
        return self._files.read(name, 2 * self._max_bytes)


def _told(picture: ResultFile) -> dict[str, Any]:
    return {
        "name": picture.name,
        "path": picture.path,
        "size": picture.size,
        "sha256": picture.sha256,
    }
