"""When a job's checkpoints are written, and which of them are kept.

    jobs/<job id>/<fence>/checkpoint-<step>.safetensors

An attempt writes below its own fence alone. A checkpoint counts from the moment that the job's
record names it, which the record's owner decides by the fence; only then is the one before
deleted. So at any moment of a crash one whole checkpoint is named, or none was ever taken.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from trainer.checkpoint import Origin, decode, encode
from trainer.recipes.watcher import Checkpointable
from wintergarden.errors import DataLoss, FailedPrecondition, NotFound, WintergardenError

INTERVAL_S = 60.0
MAX_CHECKPOINT_BYTES = 1 << 36
_REST_RATIO = 20  # of the time that the last checkpoint took: they cost a twentieth at most

Keep = Callable[[str, int], bool]
Log = Callable[[str, str], None]


class Files(Protocol):
    """The files of a job; `wintergarden.store.job_files.JobFiles`."""

    def put(self, name: str, content: bytes) -> object:
        """Writes a file, durably and whole."""

    def read(self, name: str, limit: int) -> bytes:
        """A file's bytes; NotFound, DataLoss."""

    def delete(self, name: str) -> None:
        """Deletes a file, if it is there."""


def restore(files: Files, name: str, here: Origin, log: Log) -> dict[str, Any] | None:
    """The state to go on from; None, and a warning, where the checkpoint is of no use.

    Args:
        files: of the job.
        name: as the job's record has it.
        here: what is trained, and where.
        log: takes a level and a text, for the user.

    Raises:
        Unavailable: the store does not answer; starting again would throw work away.
    """
    try:
        taken, state = decode(files.read(name, MAX_CHECKPOINT_BYTES))
        differences = here.compare(taken)
    except (NotFound, DataLoss, FailedPrecondition) as error:
        log("warning", f"training starts again from the beginning: {name}: {error.message}")
        return None
    if differences:
        log(
            "warning",
            "the weights will not be bit by bit those of an undisturbed training: "
            + "; ".join(differences),
        )
    return state


class Checkpointer:
    """Takes the checkpoints of one attempt: a `Watcher.on_checkpoint`.

    A checkpoint that cannot be written is a warning, and the next one is tried; the training
    goes on with what it has.

    Args:
        files: of the job.
        fence: of this attempt.
        origin: of the training.
        keep: asks for the checkpoint to be named in the job's record; False where it was not.
        log: takes a level and a text, for the user.
        kept: the checkpoint that the record names now, of whichever attempt; empty is none.
        interval_s: between two, at least.
        now_s: a clock that only moves forward.
    """

    def __init__(
        self,
        files: Files,
        fence: int,
        origin: Origin,
        keep: Keep,
        log: Log,
        *,
        kept: str = "",
        interval_s: float = INTERVAL_S,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._files = files
        self._fence = fence
        self._origin = origin
        self._keep = keep
        self._log = log
        self._kept = kept
        self._kept_step = -1
        self._interval_s = interval_s
        self._now_s = now_s
        self._due_at = now_s() + interval_s

    def __call__(self, training: Checkpointable, is_last: bool) -> None:
        started = self._now_s()
        if (not is_last and started < self._due_at) or training.step == self._kept_step:
            return
        name = f"{self._fence}/checkpoint-{training.step}.safetensors"
        try:
            self._take(name, training.step, training.state_dict())
        except (WintergardenError, OSError) as error:
            self._log(
                "warning",
                f"no checkpoint at step {training.step}; the last one is {self._kept or 'none'}: "
                f"{error}",
            )
        now = self._now_s()
        self._due_at = now + max(self._interval_s, _REST_RATIO * (now - started))

    def _take(self, name: str, step: int, state: Mapping[str, Any]) -> None:
        self._files.put(name, encode(self._origin, state))
        if not self._keep(name, step):
            self._files.delete(name)
            return
        previous, self._kept, self._kept_step = self._kept, name, step
        if previous in ("", name):
            return
        try:
            self._files.delete(previous)
        except (WintergardenError, OSError) as error:
            self._log("warning", f"checkpoint {previous} could not be deleted: {error}")
