"""Checkpoints nobody will go on from: of attempts that were superseded, of jobs that have ended.

jobs/<job id>/<fence>/checkpoint-<step>.…     other files of a job are none of our business
"""

from __future__ import annotations

from wintergarden.store.job_files import JobFiles

_PREFIX = "checkpoint-"


def sweep_superseded(files: JobFiles, fence: int, kept: str) -> None:
    """Deletes the checkpoints of attempts before this one, but not the one it goes on from.

    Of newer attempts it touches nothing, should this one be superseded itself by now.

    Args:
        files: of the job.
        fence: of this attempt.
        kept: the checkpoint that the job's record named when this attempt began; empty is none.
    """
    _sweep(files, [old for old in _fences(files) if int(old) < fence], kept)


def sweep_ended(files: JobFiles, kept: str) -> None:
    """Deletes the checkpoints of a job that has ended, but not the one that is kept.

    Args:
        files: of the job.
        kept: the checkpoint that another job may still go on from; empty is none.
    """
    _sweep(files, _fences(files), kept)
    files.prune()  # and nothing else: another worker may be archiving the job's events


def _sweep(files: JobFiles, folders: list[str], kept: str) -> None:
    for folder in folders:
        names = files.names(folder)
        swept = [n for n in names if n.startswith(f"{folder}/{_PREFIX}") and n != kept]
        if swept == names:
            files.delete_folder(folder)
            continue
        for name in swept:
            files.delete(name)
        files.delete_abandoned(folder)


def _fences(files: JobFiles) -> list[str]:
    """The folders of attempts."""
    return [name for name in files.folders() if name.isascii() and name.isdigit()]
